//! PostgreSQL: what becomes of a transaction.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_client::once::{Once, PostgresSettings, StoreError, once};
use tokio::task::JoinSet;

use super::super::stores::{PostgresServer, skipped};
use super::super::support::until;
use super::{handle_when_new, id, nothing, pay, postgres, postgres_as, postgres_server, victim};

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

/// A failover makes the server a standby under the store's connections: it takes no writes, and then ends
/// the connections. Both are said about the server, and not about the message.
#[tokio::test]
async fn a_demoted_or_restarted_postgres_is_waited_for() {
    if skipped() {
        return;
    }
    let (server, store) = postgres_server().await;
    assert!(matches!(once(&store, &id("before"), nothing).await, Once::Handled(())));
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on").await;
    server.sql("SELECT pg_reload_conf()").await;
    until("it takes no writes", async || {
        let demoted = once(&store, &id("demoted"), nothing).await;
        match demoted {
            Once::Handled(()) | Once::Duplicate => false,
            Once::NotStarted(StoreError::Unavailable { problem, .. }) => {
                assert!(problem.contains("25006"), "{problem}");
                true
            }
            other => panic!("{other:?}"),
        }
    })
    .await;
    server.sql("ALTER SYSTEM RESET default_transaction_read_only").await;
    server.sql("SELECT pg_reload_conf()").await;
    handle_when_new(&store, &id("promoted")).await;
    assert!(matches!(once(&store, &id("before"), nothing).await, Once::Duplicate));

    // in the middle of a handler, as `pg_ctl stop` and a failover do
    let order = id("ended");
    let ended = once(&store, &order, async |_| {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND \
                      application_name = '' AND backend_type = 'client backend'";
        server.sql(others).await;
        Ok::<_, ()>(())
    });
    let ended = ended.await;
    let unavailable =
        matches!(&ended, Once::Unmarked { error: StoreError::Unavailable { .. }, .. });
    assert!(unavailable, "{ended:?}");
    handle_when_new(&store, &order).await;
}

/// Marks older than anything are none.
#[tokio::test]
async fn the_longest_time_forgets_nothing() {
    if skipped() {
        return;
    }
    let (_server, store) = postgres_server().await;
    assert!(matches!(once(&store, &id("order"), nothing).await, Once::Handled(())));
    assert_eq!(store.forget(Duration::MAX).await.unwrap(), 0);
    assert_eq!(store.forget(Duration::ZERO).await.unwrap(), 1);
}
