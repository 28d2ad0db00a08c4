//! A broker that cannot be reached is a page that says so, and comes back by itself.

use std::net::Ipv4Addr;

use dormouse::config::Uri;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::api_support::*;
use crate::console_support::Person;
use crate::support::*;

/// A way to the broker, until it is dropped: then its port refuses.
struct Way {
    port: u16,
    _open: JoinSet<()>,
}

impl Way {
    /// On that port, or on a free one.
    async fn open(broker: u16, port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await.unwrap();
                connections
                    .spawn(async move { drop(copy_bidirectional(&mut near, &mut far).await) });
            }
        });
        Self { port, _open: open }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_down_is_told_and_comes_back() {
    let broker = Broker::fresh("console-down").await;
    let mut config = broker.config();
    let mut uri = url::Url::parse(&broker.uri()).unwrap();
    let far = uri.port().unwrap();
    let way = Way::open(far, 0).await;
    uri.set_host(Some("127.0.0.1")).unwrap();
    uri.set_port(Some(way.port)).unwrap();
    config.broker.uri = vec![Uri::new(uri.as_str())];
    config.broker.management_uri = Some(Uri::new(broker.management_uri.clone()));
    config.service.roles = vec!["console".into()];
    config.commands.enabled = true;
    let worker = Worker::start(&broker.config()).await;
    let api = Api::of_service(&config);
    let person = Person::logged_in(&api, "guest", "guest").await;
    person.get("/").await.says("Nothing sleeps.");

    let port = way.port;
    drop(way);
    for path in ["/", "/cascade", "/workers", "/dlq", "/schedules"] {
        until("it is told", async || person.get(path).await.status == 503).await;
        let page = person.get(path).await;
        page.says("RabbitMQ cannot be reached")
            .says("is not lost")
            .says("looks again every 5 seconds");
        assert_eq!(page.header("refresh"), "5");
        page.says_not("guest:guest");
    }
    // known for half a minute is only the right password
    let stranger = Person::stranger(&api).log_in("guest", "other").await;
    assert_eq!(stranger.status, 503, "{stranger:?}");
    // what needs no broker is there
    assert_eq!(person.get("/help").await.status, 200);

    let _way = Way::open(far, port).await;
    until("it is back", async || person.get("/").await.status == 200).await;
    worker.stop().await;
    api.stop().await;
    broker.drop_it().await;
}
