//! Redis: what becomes of a lease.

use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dormouse_client::once::{Begin, Id, Once, Redis, RedisSettings, Store, StoreError, once};

use super::super::stores::{MovingAddress, RedisServer, skipped};
use super::super::support::{DEADLINE, until};
use super::{LEASE, handle_when_new, id, nothing, redis, victim};

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

/// The address of a failover-kept Redis leads to the new master, and the connection to the old one stays.
#[tokio::test]
async fn after_a_failover_redis_is_found_where_its_address_leads() {
    if skipped() {
        return;
    }
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    let address = MovingAddress::to(&old).await;
    let settings = RedisSettings { lease: LEASE, ..RedisSettings::new("orders") };
    let store = Redis::new(&address.uri(), settings).unwrap();
    let before = id("before");
    assert!(matches!(once(&store, &before, nothing).await, Once::Handled(())));
    new.replicate(Some(&old)).await;
    until("the replica has the mark", async || {
        let mut replica = new.connect().await;
        redis::cmd("DBSIZE").query_async::<u32>(&mut replica).await.is_ok_and(|size| size == 1)
    })
    .await;

    new.replicate(None).await;
    old.replicate(Some(&new)).await;
    address.move_to(&new);
    handle_when_new(&store, &id("demoted")).await;
    assert!(matches!(once(&store, &before, nothing).await, Once::Duplicate));

    // this time the master is gone without a word
    old.replicate(None).await;
    new.pause();
    address.move_to(&old);
    handle_when_new(&store, &id("silent")).await;
    new.go_on();
}

/// What a server cannot do now is said about the server: the message waits until it can.
#[tokio::test]
async fn what_redis_cannot_do_at_the_moment_is_waited_for() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    let store = redis(&server);
    let mut operator = server.connect().await;
    for (setting, cannot, can, code) in
        [("maxmemory", "1", "0", "OOM"), ("min-replicas-to-write", "1", "0", "NOREPLICAS")]
    {
        let mut set = async |value: &str| {
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg(setting).arg(value);
            set.query_async::<()>(&mut operator).await.unwrap();
        };
        set(cannot).await;
        match once(&store, &id(code), nothing).await {
            Once::NotStarted(StoreError::Unavailable { problem, .. }) => {
                assert!(problem.contains(code), "{problem}");
            }
            other => panic!("{code}: {other:?}"),
        }
        set(can).await;
        handle_when_new(&store, &id(code)).await;
    }
}

/// Times that a caller may choose: a lease too short to be renewed is made longer, and the longest are no
/// reason to panic.
#[tokio::test]
async fn every_lease_lets_a_handler_end() {
    if skipped() {
        return;
    }
    let server = RedisServer::start().await;
    for (number, long) in
        [Duration::ZERO, Duration::from_nanos(1), Duration::MAX].into_iter().enumerate()
    {
        let (lease, remember, answer_within) = (long, long, DEADLINE.max(long));
        let scope = number.to_string();
        let settings = RedisSettings { scope, lease, remember, answer_within };
        let store = Redis::new(&server.uri(), settings).unwrap();
        let order = id("order");
        let ran = once(&store, &order, async |_| {
            tokio::time::sleep(Duration::from_millis(250)).await;
            Ok::<_, ()>(())
        });
        let ran = ran.await;
        assert!(matches!(ran, Once::Handled(())), "{long:?}: {ran:?}");
    }
}
