//! Idempotent handling on real stores: races, crashes between effect and mark, stores that are down,
//! leases that run out. Needs no RabbitMQ.

mod leases;
mod transactions;

use std::future::pending;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dormouse_client::once::{
    Id, Memory, MemorySettings, Once, Postgres, PostgresSettings, Redis, RedisSettings, Store,
    StoreError, Transaction, once,
};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::stores::{PostgresServer, RedisServer, skipped};
use super::support::{DEADLINE, until};

/// Short, so that tests are quick; long enough for a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(3);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn redis(server: &RedisServer) -> Redis {
    let settings = RedisSettings { lease: LEASE, ..RedisSettings::new("orders") };
    Redis::new(&server.uri(), settings).unwrap()
}

fn postgres_as(server: &PostgresServer, settings: PostgresSettings) -> Postgres {
    Postgres::new(server.config(), NoTls, settings)
}

fn postgres(server: &PostgresServer) -> Postgres {
    postgres_as(server, PostgresSettings::new("orders"))
}

/// A server with the store's table and a table of effects.
async fn postgres_server() -> (PostgresServer, Postgres) {
    let server = PostgresServer::start().await;
    let store = postgres(&server);
    store.create_table().await.unwrap();
    server.sql("CREATE TABLE effects (id text)").await;
    (server, store)
}

async fn pay(transaction: &Transaction) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute("INSERT INTO effects VALUES ('paid')").await
}

async fn nothing<Claim>(_: &Claim) -> Result<(), ()> {
    Ok(())
}

/// Asks until the message is new and its store there, and handles it.
async fn handle_when_new(store: &impl Store, id: &Id) {
    until("the message is new again", async || match once(store, id, nothing).await {
        Once::Handled(()) => true,
        Once::InProgress { .. } | Once::NotStarted(StoreError::Unavailable { .. }) => false,
        other => panic!("{other:?}"),
    })
    .await;
}

/// What holds for every store; `other` is another worker's view of the same one.
async fn keeps_the_contract(store: &impl Store, other: &impl Store) {
    let order = id("a handled one is a duplicate");
    assert!(matches!(once(store, &order, async |_| Ok::<_, ()>(7)).await, Once::Handled(7)));
    for store in [once(store, &order, nothing).await, once(other, &order, nothing).await] {
        assert!(matches!(store, Once::Duplicate) && store.is_done(), "{store:?}");
    }

    let order = id("a failed one is new again, at once and for all");
    let failed = once(store, &order, async |_| Err::<(), _>("no money")).await;
    assert!(matches!(failed, Once::Failed("no money")) && !failed.is_done());
    assert!(matches!(once(other, &order, nothing).await, Once::Handled(())));

    let order = id("one in progress is neither");
    let ran = once(store, &order, async |_| {
        for _ in 0..3 {
            let seen = once(other, &order, nothing).await;
            assert!(matches!(seen, Once::InProgress { retry_after } if !retry_after.is_zero()));
        }
        Ok::<_, ()>(())
    });
    assert!(matches!(ran.await, Once::Handled(())));
    assert!(matches!(once(other, &order, nothing).await, Once::Duplicate));

    let order = id("a scope's own: ' \" \\ ü 💤 % \n;--");
    assert!(matches!(once(store, &order, nothing).await, Once::Handled(())));
    assert!(matches!(once(other, &order, nothing).await, Once::Duplicate));
}

/// Many workers, each with all ids: each id is handled exactly once.
async fn runs_exactly_one<S: Store + 'static>(workers: Vec<S>) {
    const IDS: usize = 40;
    let handled: Arc<Vec<AtomicUsize>> = Arc::new((0..IDS).map(|_| <_>::default()).collect());
    let mut tasks = JoinSet::new();
    for (worker, store) in workers.into_iter().enumerate() {
        let handled = handled.clone();
        tasks.spawn(async move {
            let mut left: Vec<usize> = (0..IDS).collect();
            let began = Instant::now();
            while !left.is_empty() {
                assert!(began.elapsed() < DEADLINE, "worker {worker} still has {left:?}");
                let mut again = Vec::new();
                for number in left {
                    let order = id(&format!("race-{number}"));
                    let ran = once(&store, &order, async |_| {
                        tokio::task::yield_now().await;
                        handled[number].fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, ()>(())
                    });
                    match ran.await {
                        Once::Handled(()) | Once::Duplicate => {}
                        Once::InProgress { .. } => again.push(number),
                        other => panic!("{other:?}"),
                    }
                }
                left = again;
                // who has the others needs this thread, too
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert!(handled.iter().all(|runs| runs.load(Ordering::SeqCst) == 1), "{handled:?}");
}

/// A worker in a process of its own that has done its effect and not its mark.
struct Victim(Child);

impl Victim {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // a test that fails early leaves no process behind
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn victim(store: &str, uri: &str) -> Victim {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["once::a_worker_to_be_killed", "--exact", "--ignored", "--nocapture"])
        .env("DORMOUSE_TEST_VICTIM", format!("{store} {uri}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let done = out.lines().map_while(Result::ok).any(|line| line.contains("the effect is done"));
    assert!(done, "the victim ended too early");
    Victim(child)
}

/// Not a test: the process that [`victim`] starts, and that waits for its end.
#[tokio::test]
#[ignore = "started by other tests, to be killed"]
async fn a_worker_to_be_killed() {
    let Ok(victim) = std::env::var("DORMOUSE_TEST_VICTIM") else { return };
    let (store, uri) = victim.split_once(' ').unwrap();
    let order = id("killed");
    let wait = async || {
        println!("the effect is done");
        tokio::time::sleep(DEADLINE).await;
    };
    if store == "redis" {
        let settings = RedisSettings { lease: LEASE, ..RedisSettings::new("orders") };
        let store = Redis::new(uri, settings).unwrap();
        let ran = once(&store, &order, async |_| {
            wait().await;
            Ok::<_, ()>(())
        });
        let _ = ran.await;
    } else {
        let config = uri.parse().unwrap();
        let store = Postgres::new(config, NoTls, PostgresSettings::new("orders"));
        let ran = once(&store, &order, async |transaction| {
            pay(transaction).await?;
            wait().await;
            Ok::<_, tokio_postgres::Error>(())
        });
        let _ = ran.await;
    }
    panic!("nobody has killed this process");
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let store = Memory::new(MemorySettings::default());
    keeps_the_contract(&store, &store.clone()).await;
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    keeps_the_contract(&redis(&server), &redis(&server)).await;
    let elsewhere = Redis::new(&server.uri(), RedisSettings::new("bills")).unwrap();
    let order = id("a handled one is a duplicate");
    let handled = once(&elsewhere, &order, nothing).await;
    assert!(matches!(handled, Once::Handled(())), "a scope of its own: {handled:?}");
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;
    keeps_the_contract(&store, &postgres(&server)).await;
    let elsewhere = postgres_as(&server, PostgresSettings::new("bills"));
    let order = id("a handled one is a duplicate");
    let handled = once(&elsewhere, &order, nothing).await;
    assert!(matches!(handled, Once::Handled(())), "a scope of its own: {handled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_workers_that_race_in_one_process_exactly_one_handles() {
    let store = Memory::new(MemorySettings::default());
    runs_exactly_one((0..8).map(|_| store.clone()).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_workers_that_race_over_redis_exactly_one_handles() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    runs_exactly_one((0..8).map(|_| redis(&server)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_workers_that_race_over_postgres_exactly_one_handles() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;
    // the table, too, may be created by all of them at once
    let workers: Vec<_> = (0..8).map(|_| postgres(&server)).collect();
    let created = workers.iter().map(Postgres::create_table);
    futures_util::future::try_join_all(created).await.unwrap();
    runs_exactly_one(workers).await;
    assert_eq!(store.forget(Duration::from_secs(3_600)).await.unwrap(), 0, "none is so old");
    assert_eq!(store.forget(Duration::ZERO).await.unwrap(), 40);
}

#[tokio::test]
async fn a_handler_that_ends_in_the_middle_leaves_its_message_new_in_memory() {
    let store = Memory::new(MemorySettings::default());
    let order = id("cancelled");
    let mut ran = Box::pin(once(&store, &order, async |_| pending::<Result<(), ()>>().await));
    assert!(futures_util::FutureExt::now_or_never(&mut ran).is_none());
    assert!(matches!(once(&store, &order, nothing).await, Once::InProgress { .. }));
    drop(ran);
    assert!(matches!(once(&store, &order, nothing).await, Once::Handled(())));

    let (order, panics) = (id("panicked"), store.clone());
    let panicked = tokio::spawn(async move {
        once(&panics, &order, async |_| -> Result<(), ()> { panic!("on purpose") }).await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert!(matches!(once(&store, &id("panicked"), nothing).await, Once::Handled(())));
}
