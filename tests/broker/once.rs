//! Idempotent handling on real stores: races, crashes between effect and mark, stores that are down,
//! leases that run out. Needs no RabbitMQ.

use std::future::pending;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dormouse::client::once::{
    Begin, Id, Memory, MemorySettings, Once, Postgres, PostgresSettings, Redis, RedisSettings,
    Store, StoreError, Transaction, once,
};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use super::stores::{PostgresServer, RedisServer, skipped};
use super::support::{DEADLINE, until};

/// Short, so that tests are quick; long enough for a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(2);

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

/// `kill -9` between effect and mark: the message waits for the lease, no longer, and is handled again.
#[tokio::test]
async fn a_killed_worker_blocks_its_message_in_redis_no_longer_than_its_lease() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    let mut victim = victim("redis", &server.uri());
    let store = redis(&server);
    let order = id("killed");
    let seen = once(&store, &order, nothing).await;
    assert!(
        matches!(seen, Once::InProgress { retry_after } if retry_after <= LEASE + Duration::from_millis(1))
    );
    victim.kill();
    let killed = Instant::now();
    let Once::InProgress { retry_after } = once(&store, &order, nothing).await else {
        panic!("the lease is still there");
    };
    tokio::time::sleep(retry_after).await;
    let ran = once(&store, &order, nothing).await;
    assert!(matches!(ran, Once::Handled(())), "after {:?}: {ran:?}", killed.elapsed());
    assert!(matches!(once(&store, &order, nothing).await, Once::Duplicate));
}

/// `kill -9` between effect and mark: neither is there, and the message is new at once.
#[tokio::test]
async fn a_killed_worker_leaves_neither_effect_nor_mark_in_postgres() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;
    let mut victim = victim("postgres", &server.uri());
    let order = id("killed");
    assert!(matches!(once(&store, &order, nothing).await, Once::InProgress { .. }));
    victim.kill();
    // the server notices the closed socket in its own time
    until("the message is new again", async || match once(&store, &order, pay).await {
        Once::Handled(()) => true,
        Once::InProgress { .. } => false,
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(server.count("effects").await, 1);
    assert!(matches!(once(&store, &order, pay).await, Once::Duplicate));
    assert_eq!(server.count("effects").await, 1);
}

#[tokio::test]
async fn a_long_handler_keeps_its_lease() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    let (store, other) = (redis(&server), redis(&server));
    let order = id("long");
    let began = Instant::now();
    let ran = once(&store, &order, async |_| {
        while began.elapsed() < LEASE * 2 {
            let seen = once(&other, &order, nothing).await;
            assert!(
                matches!(seen, Once::InProgress { .. }),
                "{seen:?} after {:?}",
                began.elapsed()
            );
            tokio::time::sleep(LEASE / 20).await;
        }
        Ok::<_, ()>(())
    });
    assert!(matches!(ran.await, Once::Handled(())));
    assert!(matches!(once(&other, &order, nothing).await, Once::Duplicate));
}

/// A worker that slept over its lease can take nothing from the one that has the message now.
#[tokio::test]
async fn a_worker_without_its_lease_can_neither_complete_nor_abort() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    let (store, other) = (redis(&server), redis(&server));
    for (text, aborts) in [("completes", false), ("aborts", true)] {
        let order = id(text);
        let Begin::New(slept) = store.begin(&order).await.unwrap() else { panic!("new") };
        let taken = Mutex::new(None);
        until("the lease runs out", async || {
            let Begin::New(claim) = other.begin(&order).await.unwrap() else { return false };
            *taken.lock().unwrap() = Some(claim);
            true
        })
        .await;
        if aborts {
            store.abort(slept).await.unwrap();
        } else {
            let error = store.complete(slept).await.unwrap_err();
            assert!(matches!(error, StoreError::LeaseLost(_)), "{error}");
        }
        let seen = store.begin(&order).await.unwrap();
        assert!(matches!(seen, Begin::InProgress { .. }), "it is the other's: {seen:?}");
        other.complete(taken.into_inner().unwrap().unwrap()).await.unwrap();
        assert!(matches!(store.begin(&order).await.unwrap(), Begin::Done));
    }

    // but as long as nobody else has it, its effect is marked late rather than not at all
    let order = id("late");
    let Begin::New(slept) = store.begin(&order).await.unwrap() else { panic!("new") };
    let mut connection = server.connect().await;
    until("the lease runs out", async || {
        let key = "dormouse:once:orders:late";
        redis::cmd("EXISTS").arg(key).query_async::<u32>(&mut connection.clone()).await.unwrap()
            == 0
    })
    .await;
    store.complete(slept).await.unwrap();
    assert!(matches!(store.begin(&order).await.unwrap(), Begin::Done));
    let left_ms: i64 = redis::cmd("PTTL")
        .arg("dormouse:once:orders:late")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(left_ms > 6 * 86_400_000, "a mark lasts {left_ms} ms");
}

/// A handler whose lease is gone or in doubt is stopped, and before another worker can begin.
#[tokio::test]
async fn a_handler_is_stopped_with_its_lease() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    let store = redis(&server);
    let stop = async |order: &Id, then: &dyn Fn()| {
        once(&store, order, async |_| {
            then();
            pending::<Result<(), ()>>().await
        })
        .await
    };

    // Redis does not answer any more
    let begun = Instant::now();
    let order = id("in doubt");
    let stopped = stop(&order, &|| server.pause()).await;
    let after = begun.elapsed();
    assert!(matches!(stopped, Once::Interrupted(StoreError::LeaseLost(_))), "{stopped:?}");
    assert!(after < LEASE, "{after:?}: another worker might have begun");
    server.go_on();
    handle_when_new(&store, &order).await;

    // somebody else has it: only an operator or a stepped clock can do that
    let order = id("taken");
    let mut connection = server.connect().await;
    let ran = once(&store, &order, async |_| {
        let mut set = redis::cmd("SET");
        set.arg("dormouse:once:orders:taken").arg("another's token");
        set.query_async::<()>(&mut connection).await.unwrap();
        pending::<Result<(), ()>>().await
    });
    let stopped = ran.await;
    assert!(matches!(stopped, Once::Interrupted(StoreError::LeaseLost(_))), "{stopped:?}");
}

/// Nothing runs that could not be marked, and nothing is lost: all of it comes again.
#[tokio::test]
async fn without_redis_messages_wait() {
    if skipped() {
        return;
    }
    let mut server = RedisServer::start().await;
    let store = redis(&server);
    assert!(matches!(once(&store, &id("before"), nothing).await, Once::Handled(())));
    server.kill();
    let runs = AtomicUsize::new(0);
    let count_runs = async |_: &_| {
        runs.fetch_add(1, Ordering::SeqCst);
        Ok::<_, ()>(())
    };
    for _ in 0..3 {
        let down = once(&store, &id("while down"), count_runs).await;
        assert!(matches!(down, Once::NotStarted(StoreError::Unavailable { .. })), "{down:?}");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0, "it must not run unmarked");
    server.start_again().await;
    until("the store is back", async || {
        matches!(
            once(&store, &id("while down"), count_runs).await,
            Once::Handled(()) | Once::Duplicate
        )
    })
    .await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(matches!(once(&store, &id("before"), nothing).await, Once::Duplicate));

    // down between effect and mark: whoever hears that may not ack
    let order = id("down in the middle");
    let server = Mutex::new(server);
    let ran = once(&store, &order, async |_| {
        server.lock().unwrap().kill();
        Ok::<_, ()>(())
    });
    let ran = ran.await;
    assert!(matches!(ran, Once::Unmarked { error: StoreError::Unavailable { .. }, .. }), "{ran:?}");
    let mut server = server.into_inner().unwrap();
    server.start_again().await;
    handle_when_new(&store, &order).await;
    assert!(matches!(once(&store, &order, nothing).await, Once::Duplicate));
}

#[tokio::test]
async fn without_postgres_messages_wait() {
    if skipped() {
        return;
    }
    let (mut server, store) = postgres_server().await;
    assert!(matches!(once(&store, &id("before"), pay).await, Once::Handled(())));
    server.kill();
    for _ in 0..3 {
        let down = once(&store, &id("while down"), pay).await;
        assert!(matches!(down, Once::NotStarted(StoreError::Unavailable { .. })), "{down:?}");
    }
    server.start_again().await;
    assert!(matches!(once(&store, &id("while down"), pay).await, Once::Handled(())));
    assert!(matches!(once(&store, &id("before"), pay).await, Once::Duplicate));
    assert_eq!(server.count("effects").await, 2);

    // down between effect and mark: both are gone, and both come with the next delivery
    let order = id("down in the middle");
    let mutex = Mutex::new(server);
    let ran = once(&store, &order, async |transaction| {
        pay(transaction).await?;
        mutex.lock().unwrap().kill();
        Ok::<_, tokio_postgres::Error>(())
    });
    let ran = ran.await;
    assert!(matches!(ran, Once::Unmarked { error: StoreError::Unavailable { .. }, .. }), "{ran:?}");
    let mut server = mutex.into_inner().unwrap();
    server.start_again().await;
    assert_eq!(server.count("effects").await, 2);
    assert!(matches!(once(&store, &order, pay).await, Once::Handled(())));
    assert_eq!(server.count("effects").await, 3);
}

/// What a handler can do wrong with its transaction is no success, and loses nothing.
#[tokio::test]
async fn a_handler_that_ends_its_transaction_itself_is_found_out() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;

    // PostgreSQL answers COMMIT after a failed statement without an error, and rolls back
    let order = id("goes on after a failure");
    let ran = once(&store, &order, async |transaction| {
        pay(transaction).await?;
        let failed = transaction.batch_execute("SELECT 1/0").await;
        assert!(failed.is_err());
        Ok::<_, tokio_postgres::Error>(())
    });
    let ran = ran.await;
    assert!(
        matches!(ran, Once::Unmarked { error: StoreError::TransactionEnded(_), .. }),
        "{ran:?}"
    );
    assert_eq!(server.count("effects").await, 0);

    for end in ["ROLLBACK", "ROLLBACK; BEGIN; SELECT txid_current()"] {
        let ran = once(&store, &order, async |transaction| {
            pay(transaction).await?;
            transaction.batch_execute(end).await
        });
        let ran = ran.await;
        let found_out =
            matches!(ran, Once::Unmarked { error: StoreError::TransactionEnded(_), .. });
        assert!(found_out, "{ran:?}");
        assert_eq!(server.count("effects").await, 0);
    }

    // a constraint that is checked at COMMIT
    server.sql("ALTER TABLE effects ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED").await;
    let ran = once(&store, &order, async |transaction| {
        pay(transaction).await?;
        pay(transaction).await
    });
    let ran = ran.await;
    assert!(matches!(ran, Once::Unmarked { error: StoreError::Refused { .. }, .. }), "{ran:?}");
    assert_eq!(server.count("effects").await, 0);

    // none of it is marked
    assert!(matches!(once(&store, &order, pay).await, Once::Handled(())));
    assert_eq!(server.count("effects").await, 1);
}

/// A failed handler's effect goes with its transaction, and a savepoint is its own affair.
#[tokio::test]
async fn a_failed_handler_leaves_no_effect_in_postgres() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;
    let order = id("fails");
    let ran = once(&store, &order, async |transaction| {
        pay(transaction).await.unwrap();
        Err::<(), _>("no money")
    });
    assert!(matches!(ran.await, Once::Failed("no money")));
    assert_eq!(server.count("effects").await, 0);
    let ran = once(&store, &order, async |transaction| {
        transaction.batch_execute("SAVEPOINT try").await?;
        assert!(transaction.batch_execute("SELECT 1/0").await.is_err());
        transaction.batch_execute("ROLLBACK TO try").await?;
        pay(transaction).await
    });
    assert!(matches!(ran.await, Once::Handled(())));
    assert_eq!(server.count("effects").await, 1);
}

/// A message waits for a connection, and a handler that is dropped gives its connection up.
#[tokio::test]
async fn handlers_share_few_connections() {
    if skipped() {
        return;
    }
    let (server, _) = postgres_server().await;
    let few = PostgresSettings { connections: 2, ..PostgresSettings::new("few") };
    let store = Arc::new(postgres_as(&server, few));
    let used = "pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let store = store.clone();
        tasks.spawn(async move {
            let order = id(&format!("few-{number}"));
            let ran = once(&*store, &order, async |transaction| pay(transaction).await);
            if number % 5 == 0 {
                // dropped in the middle of a statement, of the begin, of anything
                let _ = tokio::time::timeout(Duration::from_millis(number), ran).await;
            } else {
                assert!(matches!(ran.await, Once::Handled(())));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
        assert!(server.count(used).await <= 5, "two, and those that are just ending");
    }
    let marks = server.count("dormouse_handled WHERE scope = 'few'").await;
    assert_eq!(server.count("effects").await, marks, "each effect with its mark");
    assert!(marks >= 16, "{marks}");
}

#[tokio::test]
async fn a_missing_table_says_what_to_do() {
    if skipped() {
        return;
    }
    let server = PostgresServer::start().await;
    let store = postgres(&server);
    let Once::NotStarted(error) = once(&store, &id("no table"), nothing).await else {
        panic!("there is no table");
    };
    assert_eq!(
        error.to_string(),
        "PostgreSQL refused: relation \"dormouse_handled\" does not exist (SQLSTATE 42P01); \
         Postgres::create_table creates it"
    );
    store.create_table().await.unwrap();
    assert!(matches!(once(&store, &id("no table"), nothing).await, Once::Handled(())));
}
