//! Devices that speak MQTT 5 to RabbitMQ's own plugin delay what they publish: the recipe of docs/outbox.md. RabbitMQ
//! before 3.13 speaks MQTT 3.1.1 only, which has no room for a delay.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::*;
use dormouse::message::as_text;
use dormouse::schedule::headers;
use dormouse::topology::{Binding, Destination, Topology};
use dormouse_lab::dev::{Node, NodeOptions};

/// A device: connected, publishing with quality of service 1.
struct Device(TcpStream);

/// A string as MQTT has it.
fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}

impl Device {
    fn connect(port: u16, user: &str, password: &str) -> Self {
        const USER_PASSWORD_CLEAN: u8 = 0xC2;
        let head = [&string("MQTT")[..], &[5, USER_PASSWORD_CLEAN, 0, 60, 0]].concat();
        let payload = [string("kitchen"), string(user), string(password)].concat();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut device = Self(stream);
        device.send(0x10, &[head, payload].concat());
        let answer = device.answer(0x20);
        assert_eq!(answer[1], 0, "CONNACK: {answer:?}");
        device
    }

    /// Returns once RabbitMQ has it.
    fn publish(&mut self, topic: &str, properties: &[(&str, &str)], body: &str) {
        const USER_PROPERTY: u8 = 0x26;
        let properties = properties.iter().flat_map(|(name, value)| {
            [&[USER_PROPERTY][..], &string(name), &string(value)].concat()
        });
        let properties: Vec<u8> = properties.collect();
        let mut packet = [&string(topic)[..], &[0, 1]].concat();
        packet.push(u8::try_from(properties.len()).unwrap());
        packet.extend(properties);
        packet.extend(body.as_bytes());
        self.send(0x32, &packet);
        let answer = self.answer(0x40);
        // no reason is success
        assert_eq!(answer.get(2).copied().unwrap_or(0), 0, "PUBACK: {answer:?}");
    }

    fn send(&mut self, kind: u8, packet: &[u8]) {
        assert!(packet.len() < 128, "a length of one byte");
        self.0.write_all(&[&[kind, packet.len() as u8], packet].concat()).unwrap();
    }

    fn answer(&mut self, kind: u8) -> Vec<u8> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        assert_eq!(head[0], kind);
        let mut packet = vec![0; head[1].into()];
        self.0.read_exact(&mut packet).unwrap();
        packet
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_device_delays_what_it_publishes() {
    let installation = installation();
    if installation.version().starts_with("3.") {
        println!("skipped: RabbitMQ {} speaks MQTT 3.1.1 only", installation.version());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = NodeOptions::new(folder.path());
    options.config.push(format!("mqtt.listeners.tcp.1 = 127.0.0.1:{port}"));
    let plugins = "rabbitmq_management,rabbitmq_prometheus,rabbitmq_mqtt";
    options.environment.push(("RABBITMQ_ENABLED_PLUGINS".into(), plugins.into()));
    let mut node = Node::start(&installation, options).await.unwrap();
    let broker = Broker::at(&node.amqp_uri(), &node.management_uri(), "mqtt").await;
    let config = broker.config();
    let (worker, connection) = (Worker::start(&config).await, broker.connect().await);
    queues(&connection, &["later.kitchen"]).await;
    let binding = Binding {
        source: "amq.topic".into(),
        destination: Destination::Exchange("dormouse.delay".into()),
        routing_key: "later.#".into(),
    };
    declare_all(&connection, Topology { bindings: vec![binding], ..Topology::default() }).await;
    let user = format!("{}:guest", broker.vhost);
    until("it listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        .await;
    tokio::task::spawn_blocking(move || {
        let mut device = Device::connect(port, &user, "guest");
        device.publish("later/kitchen", &[("x-delay", "700"), ("room", "kitchen")], "later");
        device.publish("later/kitchen", &[], "at once");
    })
    .await
    .unwrap();
    let arrived = take(&connection, "later.kitchen", 2).await;
    let bodies: Vec<String> = arrived.iter().map(|(_, message)| body(message)).collect();
    assert_eq!(bodies, ["at once", "later"]);
    let (at, later) = &arrived[1];
    assert!(*at as i64 >= number(later, headers::DUE_MS), "never early");
    assert_eq!(later.properties.headers.get("room").and_then(as_text), Some("kitchen"));
    assert_eq!(later.properties.delivery_mode, Some(2), "quality of service 1 is persistent");
    worker.stop().await;
    broker.drop_it().await;
    node.stop().await.unwrap();
}
