//! What the console asks of RabbitMQ's management API: as much for twenty who watch as for one, and no more where others have
//! hundreds of queues.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dormouse::config::Uri;
use dormouse::operate::Others;
use dormouse::operate::verify::verify;
use dormouse::topology::finding::Finding;
use dormouse::topology::{Arguments, Binding, Destination, Exchange, Kind, Names, Topology};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::api_support::Api;
use crate::console_support::{Person, pages};
use crate::dlq::{bury, dead_ids};
use crate::support::*;

/// Counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn add(&self, more: usize) {
        self.0.fetch_add(more, Ordering::SeqCst);
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A way to the management API that counts what passes.
struct Counting {
    port: u16,
    requests: Arc<Count>,
    answer_bytes: Arc<Count>,
    _open: JoinSet<()>,
}

impl Counting {
    async fn open(far: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, answer_bytes) = (Arc::<Count>::default(), Arc::<Count>::default());
        let (asked, answered) = (requests.clone(), answer_bytes.clone());
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, far)).await.unwrap();
                let ((from_near, to_near), (from_far, to_far)) =
                    (near.into_split(), far.into_split());
                let (asked, answered) = (asked.clone(), answered.clone());
                // a request is one write of the client's
                connections.spawn(pass(from_near, to_far, move |part| {
                    asked.add(usize::from(part.starts_with(b"GET /api/")));
                }));
                connections.spawn(pass(from_far, to_near, move |part| answered.add(part.len())));
            }
        });
        Self { port, requests, answer_bytes, _open: open }
    }

    /// In place of that address.
    fn uri(&self, far: &url::Url) -> Uri {
        let mut near = far.clone();
        near.set_host(Some("127.0.0.1")).unwrap();
        near.set_port(Some(self.port)).unwrap();
        Uri::new(near.as_str())
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: impl Fn(&[u8]),
) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        seen(&part[..length]);
        if to.write_all(&part[..length]).await.is_err() {
            return;
        }
    }
}

/// Somebody who watches the sky: counts what is shown.
async fn watch(viewers: &mut JoinSet<()>, address: SocketAddr, cookie: String) -> Arc<Count> {
    let shown = Arc::<Count>::default();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /live/sky HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let counted = shown.clone();
    viewers.spawn(async move {
        let mut part = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            let text = String::from_utf8_lossy(&part[..length]);
            counted.add(text.matches("event: shown").count());
        }
    });
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn management_calls_do_not_grow_with_viewers_pages_or_the_queues_of_others() {
    let broker = Broker::fresh("console-calls").await;
    let far = url::Url::parse(&broker.management_uri).unwrap();
    let counting = Counting::open(far.port().unwrap()).await;
    let mut config = broker.config();
    config.broker.management_uri = Some(counting.uri(&far));
    config.commands.enabled = true;
    config.service.roles = vec!["console".into()];
    let connection = broker.connect().await;
    declare_all(&connection, Topology::of(&config)).await;
    bury(&connection, &config, &dead_ids(3)).await;
    let dlq = Names::of(&config).dlq();
    until("three are dead", async || depth(&connection, &dlq).await == Some(3)).await;
    // what RabbitMQ has not counted yet makes a shorter answer
    until("all are counted", async || {
        let queues = broker.management.queues(&broker.vhost).await.unwrap();
        queues.iter().all(|queue| queue.messages.is_some())
    })
    .await;

    let api = Api::of_service(&config);
    let person = Person::logged_in(&api, "guest", "guest").await;
    let mut viewers = JoinSet::new();
    let shown = watch(&mut viewers, api.address, person.cookie()).await;
    // what is asked and answered for each sample
    let each = async || {
        let from = shown.now();
        let before = (counting.requests.now(), counting.answer_bytes.now());
        until("some are shown", async || shown.now() >= from + 4).await;
        let samples = (shown.now() - from) as f64;
        let asked = (counting.requests.now() - before.0) as f64 / samples;
        (asked, (counting.answer_bytes.now() - before.1) as f64 / samples)
    };
    until("it is shown", async || shown.now() > 0).await;
    let alone = each().await;
    assert!(alone.0 >= 1.0, "{alone:?}");
    for _ in 0..19 {
        watch(&mut viewers, api.address, person.cookie()).await;
    }
    // the number of the dead is in the navigation of each page, and costs no call of its own
    for path in ["/list", "/help", "/retries", "/message?of=x"].repeat(5) {
        person.get(path).await.says("class=\"badge\">3");
    }
    let among_twenty = each().await;
    assert!(among_twenty.0 <= alone.0 + 1.0, "{alone:?} {among_twenty:?}");

    let others = (0..300).map(|number| queue(&format!("other-{number}"), Arguments::new()));
    let others = Topology { queues: others.collect(), ..Topology::default() };
    declare_all(&connection, others).await;
    // RabbitMQ lists them after some seconds
    until("they are listed", async || {
        broker.management.queues(&broker.vhost).await.unwrap().len() > 300
    })
    .await;
    let among_others = each().await;
    assert!(among_others.0 <= alone.0 + 1.0, "{alone:?} {among_others:?}");
    // RabbitMQ tells more of ours when it has counted; with those of others it would be eight times as much
    assert!(among_others.1 <= 2.0 * alone.1, "{alone:?} {among_others:?}");
    // nor is a page longer for them
    for path in pages() {
        let page = person.get(path).await;
        assert!(page.text.len() <= 60_000 && !page.text.contains("other-17"), "{path}: {page:?}");
    }
    viewers.shutdown().await;
    api.stop().await;
    broker.drop_it().await;
}

/// What is told once, however many queues others have: what stands and should not, and who works.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_is_told_at_the_same_cost_beside_many_queues_of_others() {
    let broker = Broker::fresh("console-others").await;
    let far = url::Url::parse(&broker.management_uri).unwrap();
    let counting = Counting::open(far.port().unwrap()).await;
    let mut config = broker.config();
    config.broker.management_uri = Some(counting.uri(&far));
    config.commands.enabled = true;
    config.service.roles = ["api", "console"].map(String::from).into();
    let connection = broker.connect().await;
    let topology = Topology::of(&config);
    declare_all(&connection, topology.clone()).await;
    // what somebody may have done to it
    let level = topology.queues.iter().find(|queue| queue.name.contains(".level.")).unwrap();
    let stray = Topology {
        exchanges: vec![
            exchange("stray"),
            exchange(&format!("{}gone", Names::of(&config).backs())),
        ],
        queues: vec![queue("retried", Arguments::new())],
        bindings: vec![
            bound("stray", &level.name, "#"),
            bound(&topology.exchanges[0].name, "retried", "copy"),
        ],
    };
    declare_all(&connection, stray).await;
    broker.management.delete_queue(&broker.vhost, &Names::of(&config).parking()).await.unwrap();

    let api = Api::of_service(&config);
    let person = Person::logged_in(&api, "guest", "guest").await;
    let cost = async |path: &str| {
        let before = (counting.requests.now(), counting.answer_bytes.now());
        match path.strip_prefix("/v1/") {
            Some(_) => assert_eq!(api.get(path).await.status, 200),
            None => assert_eq!(person.get(path).await.status, 200),
        }
        (counting.requests.now() - before.0, counting.answer_bytes.now() - before.1)
    };
    let told = async || {
        let verified = verify(&config, Others::IfFew).await.unwrap();
        let shown = |finding: &Finding| format!("{finding:?}");
        let findings: Vec<_> = verified.verdict.findings.iter().map(shown).collect();
        (findings, verified.verdict.unseen)
    };
    let listed = async |least: usize| {
        until("they are listed", async || {
            let queues = broker.management.queues(&broker.vhost).await.unwrap();
            queues.len() > least && queues.iter().all(|queue| queue.effective_policy.is_some())
        })
        .await;
    };
    let paths = ["/v1/levels", "/v1/workers", "/workers", "/topology"];
    listed(0).await;
    let (alone, findings) = (costs(&paths, cost).await, told().await.0);
    assert!(findings.len() >= 4, "{findings:#?}");

    let others = (0..700).map(|number| queue(&format!("other-{number}"), Arguments::new()));
    declare_all(&connection, Topology { queues: others.collect(), ..Topology::default() }).await;
    listed(700).await;
    // what was told before stands no longer than that
    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
    let among_others = costs(&paths, cost).await;
    for ((path, alone), (_, among_others)) in alone.iter().zip(&among_others) {
        // with those of others it would be five times as much, and ten times
        assert!(among_others.1 <= 3 * alone.1, "{path}: {alone:?} {among_others:?}");
    }
    let (found, unseen) = told().await;
    assert_eq!(found, findings, "the same is told");
    assert!(unseen.iter().any(|what| what.contains("701 queues of others")), "{unseen:?}");
    let all = verify(&config, Others::All).await.unwrap().verdict;
    assert!(all.unseen.is_empty(), "each is looked at: {:?}", all.unseen);
    let page = person.get("/topology").await;
    page.says("701 queues of others").says_not("other-17");
    api.stop().await;
    broker.drop_it().await;
}

/// Requests and bytes of the answers, by path.
async fn costs<'a>(
    paths: &[&'a str],
    cost: impl AsyncFn(&str) -> (usize, usize),
) -> Vec<(&'a str, (usize, usize))> {
    let mut costs = Vec::new();
    for path in paths {
        costs.push((*path, cost(path).await));
    }
    costs
}

fn exchange(name: &str) -> Exchange {
    let arguments = Arguments::new();
    Exchange { name: name.into(), kind: Kind::Topic, internal: false, arguments }
}

fn bound(source: &str, queue: &str, key: &str) -> Binding {
    let destination = Destination::Queue(queue.into());
    Binding { source: source.into(), destination, routing_key: key.into() }
}
