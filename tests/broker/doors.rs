//! On a real broker: clients that do not wait. They publish as soon as the delay exchange is there, and
//! reject as soon as the retry exchange is, while workers declare for the first time or are killed at it. And
//! what becomes of doors that somebody deletes, or that RabbitMQ has no room for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dormouse::amqp::inspector::Inspector;
use dormouse::amqp::remove::Remove;
use dormouse::amqp::{Connection, Publisher};
use dormouse::config::Config;
use dormouse::topology::{Names, Topology, back_exchange};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::operator::{exits_with, shown};
use crate::process::worker_process;
use crate::rejecting::{Client, dormouse, retried_classic, run};
use crate::support::*;

async fn exchange_stands(config: &Config, name: &str) {
    let connection = Connection::open(&config.broker, "test").await.unwrap();
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let stands = async {
        while !inspector.exchange(name).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, stands).await.unwrap_or_else(|_| panic!("{name} is not there"));
}

/// Publishes one message after the other from the first instant, until it is stopped; says how many.
fn publisher(config: Config, stop: CancellationToken) -> JoinHandle<usize> {
    tokio::spawn(async move {
        exchange_stands(&config, &config.delay_exchanges[0].name).await;
        let connection = Connection::open(&config.broker, "test").await.unwrap();
        let mut publisher: Publisher<()> = connection.publisher().await.unwrap();
        let mut published = 0;
        while !stop.is_cancelled() {
            publisher.publish(delayed("inbox", 200, &published.to_string()), ());
            publisher.settled().await;
            published += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        published
    })
}

/// Rejects what waits in a queue, one message after the other from the first instant; each comes back,
/// once. Says the attempts of each.
fn rejecting(config: Config, count: usize) -> JoinHandle<BTreeMap<String, usize>> {
    tokio::spawn(async move {
        let mut client = Client::consume(config.broker.uri[0].expose(), "jobs").await;
        exchange_stands(&config, &Names::of(&config).retry()).await;
        let mut seen = BTreeMap::new();
        while seen.values().filter(|attempts| **attempts >= 2).count() < count {
            let got = client.next().await;
            let attempts: &mut usize = seen.entry(body(&got.message)).or_default();
            *attempts += 1;
            match *attempts {
                1 => got.reject().await,
                _ => got.ack().await,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        seen
    })
}

const JOBS: usize = 300;

async fn jobs(broker: &Broker) {
    let connection = broker.connect().await;
    let mut topology =
        Topology { queues: vec![retried_classic("jobs", &broker.config())], ..<_>::default() };
    topology.queues.push(queue("inbox", <_>::default()));
    declare_all(&connection, topology).await;
    let jobs = (0..JOBS).map(|number| {
        let mut message = delayed("jobs", 0, &number.to_string());
        message.exchange.clear();
        message.properties.headers.clear();
        message
    });
    publish(&connection, jobs).await;
}

/// Whatever was confirmed arrives, and whatever was rejected comes back.
async fn all_arrives(broker: &Broker, published: usize) {
    let connection = broker.connect().await;
    let mut arrived = BTreeSet::new();
    while arrived.len() < published {
        let taken = take(&connection, "inbox", published - arrived.len()).await;
        arrived.extend(taken.iter().map(|(_, message)| body(message)));
    }
}

/// Two workers declare at once, and so one after the other: the second would be told that the retry queue
/// stands while RabbitMQ still starts it for the first, and what is rejected then would be lost.
#[tokio::test(flavor = "multi_thread")]
async fn publishers_that_do_not_wait_lose_nothing_with_two_workers() {
    let broker = Broker::fresh("doors").await;
    jobs(&broker).await;
    let stop = CancellationToken::new();
    let published = publisher(broker.config(), stop.clone());
    let rejected = rejecting(broker.config(), JOBS);
    let quick = ["--set", "retry.initial_backoff=100ms"];
    let mut workers = [worker_process(&broker, &quick), worker_process(&broker, &quick)];
    for worker in &mut workers {
        worker.until_ready().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.cancel();
    let published = published.await.unwrap();
    assert!(published > 0);
    all_arrives(&broker, published).await;
    assert_eq!(rejected.await.unwrap().len(), JOBS);
    for worker in workers {
        worker.stop().await.unwrap();
    }
    broker.drop_it().await;
}

/// Workers are killed in the middle of their declare, at one moment after the other; what clients were
/// told is taken arrives with the worker that stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_its_declare_leaves_no_hole() {
    for after_ms in [0, 20, 60] {
        let broker = Broker::fresh("doors-killed").await;
        jobs(&broker).await;
        let stop = CancellationToken::new();
        let published = publisher(broker.config(), stop.clone());
        let rejected = rejecting(broker.config(), JOBS);
        let quick = ["--set", "retry.initial_backoff=100ms"];
        for _ in 0..3 {
            let killed = worker_process(&broker, &quick);
            exchange_stands(&broker.config(), &Names::of(&broker.config()).parking()).await;
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            killed.kill();
        }
        let mut stays = worker_process(&broker, &quick);
        stays.until_ready().await.unwrap();
        stop.cancel();
        all_arrives(&broker, published.await.unwrap()).await;
        assert_eq!(rejected.await.unwrap().len(), JOBS);
        stays.stop().await.unwrap();
        broker.drop_it().await;
    }
}

async fn delete(connection: &Connection, exchange: &str) {
    Remove::open(connection).await.unwrap().exchange(exchange).await.unwrap();
}

/// Somebody deletes an exchange of ours while a worker runs: it is back in seconds, with its binding.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_is_declared_again() {
    let broker = Broker::fresh("doors-deleted").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let queues = vec![queue("inbox", <_>::default()), retried_classic("jobs", &config)];
    declare_all(&connection, Topology { queues, ..<_>::default() }).await;
    let names = Names::of(&config);
    let delay = &config.delay_exchanges[0];
    for exchange in [&names.parking(), &names.expired(delay), &names.retry(), &delay.name] {
        delete(&connection, exchange).await;
    }
    exchange_stands(&config, &names.retry()).await;
    exchange_stands(&config, &delay.name).await;
    publish(&connection, [delayed("inbox", 50, "through it")]).await;
    take(&connection, "inbox", 1).await;
    let mut client = Client::consume(&broker.uri(), "jobs").await;
    publish(&connection, [delayed("jobs", 50, "to be rejected")]).await;
    client.reject_next().await;
    assert_eq!(body(&client.ack_next().await), "to be rejected");
    assert_eq!(worker.health.ready(), Ok(()));
    worker.stop().await;
    broker.drop_it().await;
}

/// A worker that may not declare says what is missing, and so does `status`.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_declares_a_deleted_exchange_is_told() {
    let broker = Broker::fresh("doors-told").await;
    let mut config = broker.config();
    dormouse(&broker, &["topology", "apply"]);
    config.topology.declare = false;
    let worker = Worker::start(&config).await;
    dormouse(&broker, &["status"]);
    let connection = broker.connect().await;
    let retry = Names::of(&config).retry();
    delete(&connection, &retry).await;
    until("readiness names it", async || {
        worker.health.ready().is_err_and(|why| why.contains(&retry))
    })
    .await;
    let status = run(&broker, &["status"]);
    exits_with(&status, 3);
    assert!(
        shown(&status).contains(&format!("Exchanges are missing: {retry}")),
        "{}",
        shown(&status)
    );
    dormouse(&broker, &["topology", "apply"]);
    until("it is ready again", async || worker.health.ready().is_ok()).await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A virtual host with fewer queues than the layout wants: that is said, and a worker waits until there is
/// room. A limit of what stands is no trouble.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_queues_is_called_by_its_name() {
    let broker = Broker::fresh("doors-limit").await;
    limit_queues(&broker, 5).await;
    for command in ["plan", "verify"] {
        let told = run(&broker, &["topology", command]);
        exits_with(&told, 3);
        let words = shown(&told).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("may have 5 queues (max-queues), 0 stand"), "{command}: {words}");
        assert!(words.contains("set_vhost_limits"), "{command}: {words}");
    }
    let refused = run(&broker, &["topology", "apply"]);
    exits_with(&refused, 5);
    let wanted = Topology::of(&broker.config()).queues.len();
    for words in [format!("{wanted} queues"), "limit".into(), "topology.radix".into()] {
        assert!(shown(&refused).contains(&words), "{words}: {}", shown(&refused));
    }
    assert!(!shown(&refused).contains("other arguments"), "{}", shown(&refused));
    let connection = broker.connect().await;
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let delay = &broker.config().delay_exchanges[0].name;
    assert!(!inspector.exchange(delay).await.unwrap(), "no door to half a layout");
    let mut worker = worker_process(&broker, &[]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!worker.is_ready().await);
    limit_queues(&broker, wanted).await;
    assert!(!shown(&run(&broker, &["topology", "plan"])).contains("max-queues"), "room enough");
    worker.until_ready().await.unwrap();
    worker.stop().await.unwrap();
    let mut again = worker_process(&broker, &[]);
    again.until_ready().await.unwrap();
    again.stop().await.unwrap();
    broker.drop_it().await;
}

async fn limit_queues(broker: &Broker, queues: usize) {
    let management = std::env::var("DORMOUSE_MANAGEMENT_URI").unwrap();
    let uri = format!("{management}/api/vhost-limits/{}/max-queues", broker.vhost);
    let body = format!("{{\"value\": {queues}}}");
    let put = tokio::task::spawn_blocking(move || {
        ureq::put(&uri).header("content-type", "application/json").send(body)
    });
    put.await.unwrap().expect("RabbitMQ takes it");
}

/// A queue that its client deletes takes the exchange that led back to it along; one that stays keeps it.
/// What is left of another time is told, and pruned.
#[tokio::test(flavor = "multi_thread")]
async fn the_exchange_of_a_queue_that_is_gone_goes_too() {
    let broker = Broker::fresh("doors-back").await;
    let mut config = broker.config();
    config.retry.initial_backoff = Duration::from_millis(100);
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    let names = Names::of(&config);
    let queues = ["stays", "goes"].map(|name| retried_classic(name, &config));
    declare_all(&connection, Topology { queues: queues.into(), ..<_>::default() }).await;
    for queue in ["stays", "goes"] {
        let mut client = Client::consume(&broker.uri(), queue).await;
        publish(&connection, [delayed(queue, 0, "to be rejected")]).await;
        client.reject_next().await;
        client.ack_next().await;
        exchange_stands(&config, &names.back(queue).unwrap()).await;
    }
    Remove::open(&connection).await.unwrap().queue("goes").await.unwrap();
    let mut inspector = Inspector::open(&connection).await.unwrap();
    let gone = names.back("goes").unwrap();
    let stands = async {
        while inspector.exchange(&gone).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, stands).await.expect("it goes");
    assert!(inspector.exchange(&names.back("stays").unwrap()).await.unwrap());

    let left = back_exchange(&names.back("of another time").unwrap());
    declare_all(&connection, Topology { exchanges: vec![left], ..<_>::default() }).await;
    assert!(
        dormouse(&broker, &["status"]).contains("1 exchange leads back to a queue that is gone")
    );
    let verified = dormouse(&broker, &["topology", "verify"]);
    assert!(verified.contains("dormouse retry prune"), "{verified}");
    exits_with(&run(&broker, &["retry", "prune", "--dry-run"]), 3);
    assert!(dormouse(&broker, &["retry", "prune"]).contains("Deleted 1 exchange"));
    exits_with(&run(&broker, &["retry", "prune", "--dry-run"]), 0);
    assert!(inspector.exchange(&names.back("stays").unwrap()).await.unwrap());
    worker.stop().await;
    broker.drop_it().await;
}
