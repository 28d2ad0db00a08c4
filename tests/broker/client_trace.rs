//! `dormouse_client` on a real broker: a trace from the publish to what the handler logs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Log, Order, Running, client, order};
use crate::support::*;
use dormouse_client::{Delivery, Retry, Target, Verdict};

/// `traceparent` from the publish, through hops and attempts, to the handler's span and what it publishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_on_through_every_hop_and_attempt() {
    let broker = Broker::fresh("client-trace").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders", "receipts"]).await;
    let client = client(&config).await;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only one");
    let trace: dormouse_client::TraceContext =
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let traced = order(1).with_trace(&trace).with_header("tracestate", "vendor=value");
    let three_hops = Duration::from_millis(100 * (1 + 4 + 16) + 70);
    client.scheduler().publish_in(Target::queue("orders"), traced, three_hops).await.unwrap();
    let seen = Log::default();
    let log = seen.clone();
    let consumer = client.consumer::<Order>("orders");
    let scheduler = client.scheduler();
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<Order>| {
                let (log, scheduler) = (log.clone(), scheduler.clone());
                async move {
                    let current = dormouse_client::current_trace().expect("within a trace");
                    tracing::info!("the handler's own words");
                    log.note((delivery.trace().unwrap(), current));
                    if delivery.attempt() == 1 {
                        return Verdict::retry(Retry::After(Duration::from_millis(150)), "later");
                    }
                    let receipts = Target::queue("receipts");
                    scheduler.publish_in(receipts, order(1), Duration::ZERO).await.unwrap();
                    Verdict::Done
                }
            },
            stop,
        )
    });
    let (_, receipt) = take(&connection, "receipts", 1).await.remove(0);
    running.stop().await;
    let seen = seen.all();
    assert_eq!(seen.len(), 2, "two attempts");
    for (carried, own) in &seen {
        assert_eq!((carried.trace_id(), carried.span_id()), (trace.trace_id(), trace.span_id()));
        assert_eq!(carried.tracestate(), Some("vendor=value"));
        assert_eq!(own.trace_id(), trace.trace_id());
        assert_ne!(own.span_id(), trace.span_id(), "a span of its own");
    }
    assert_ne!(seen[0].1.span_id(), seen[1].1.span_id(), "one for each attempt");
    assert_eq!(words(&receipt, "traceparent"), seen[1].1.traceparent());
    assert_eq!(words(&receipt, "tracestate"), "vendor=value");
    // the handler's log lines stand in its span
    let said: Vec<serde_json::Value> = lines.of("the handler's own words");
    for (line, ((_, own), attempt)) in said.iter().zip(seen.iter().zip(1..)) {
        let span = &line["span"];
        assert_eq!((&span["name"], &span["queue"]), (&"handle".into(), &"orders".into()));
        assert_eq!(
            (&span["attempt"], &span["trace_id"]),
            (&attempt.into(), &own.trace_id().into())
        );
        assert_eq!(span["parent_id"], trace.span_id());
        assert_eq!(span["span_id"], own.span_id());
    }
    assert_eq!(said.len(), 2);
    // a publish within a span begins a trace, and one without does not
    let publish = async || {
        let receipts = Target::queue("receipts");
        client.scheduler().publish_in(receipts, order(2), Duration::ZERO).await.unwrap();
        take(&connection, "receipts", 1).await.remove(0).1
    };
    assert_eq!(header(&publish().await, "traceparent"), None);
    let request = tracing::info_span!("request");
    let begun = words(&tracing::Instrument::instrument(publish(), request).await, "traceparent");
    assert!(begun.parse::<dormouse_client::TraceContext>().unwrap().is_sampled(), "{begun}");
    worker.stop().await;
    broker.drop_it().await;
}

/// What was logged, as JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn of(&self, message: &str) -> Vec<serde_json::Value> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = String::from_utf8(bytes).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &serde_json::Value| line["fields"]["message"] == message).collect()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
