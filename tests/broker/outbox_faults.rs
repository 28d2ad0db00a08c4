//! Relays of an outbox that are killed, and a database that ends under them: nothing is lost, and the order of a key is
//! kept.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::outbox::{Relaying, database, sql};
use crate::stores::{PostgresServer, skipped};
use crate::support::*;
use dormouse::amqp::Consumer;
use dormouse_client::outbox::{Entry, insert};
use dormouse_client::{Message, Target};
use tokio::task::JoinSet;

const WRITERS: u32 = 4;
const KEYS: u32 = 5;
const ROWS: u32 = 400;

/// Each row knows its key, and its place among the rows of that key in the order of their commits.
async fn write(server: PostgresConnection, writer: u32) {
    let PostgresConnection { mut client, config } = server;
    let mut row = 0;
    while row < ROWS {
        let key = format!("k{}", fastrand::u32(..KEYS));
        let written = async {
            let transaction = client.transaction().await?;
            let place = "UPDATE places SET place = place + 1 WHERE key = $1 RETURNING place";
            let place: i64 = transaction.query_one(place, &[&key]).await?.get(0);
            let body = format!("{key} {place}");
            let message = Message::new(body).with_id(format!("{writer}-{row}"));
            let entry = Entry::now(Target::queue("orders"), message).ordered_by(&key);
            insert(&transaction, entry).await.map_err(|error| panic_unless_away(&error)).ok();
            transaction.commit().await
        };
        match written.await {
            Ok(()) => row += 1,
            // whether it was committed is not known, and the next one has another place
            Err(_) if client.is_closed() => {
                client = connect(&config).await;
                row += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn panic_unless_away(error: &dormouse_client::outbox::OutboxError) {
    use dormouse_client::outbox::OutboxError::Unavailable;
    assert!(matches!(error, Unavailable(_)), "{error}");
}

struct PostgresConnection {
    client: tokio_postgres::Client,
    config: tokio_postgres::Config,
}

async fn connect(config: &tokio_postgres::Config) -> tokio_postgres::Client {
    loop {
        if let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn writers(server: &PostgresServer) -> JoinSet<()> {
    server.sql("CREATE TABLE places (key text PRIMARY KEY, place bigint NOT NULL)").await;
    let keys =
        format!("INSERT INTO places SELECT 'k' || n, 0 FROM generate_series(0, {KEYS}) AS n");
    server.sql(&keys).await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let connection = PostgresConnection { client: sql(server).await, config: server.config() };
        writers.spawn(write(connection, writer));
    }
    writers
}

/// Two relays, of which one is killed every few ms of its life, each time in another step, while a backend of the
/// database is ended now and then, and all of it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_relays_and_a_restarted_database_lose_nothing_and_keep_the_order() {
    if skipped() {
        return;
    }
    let (broker, mut server) = (Broker::fresh("outbox-kills").await, database().await);
    let (config, connection) = (broker.config(), broker.connect().await);
    queues(&connection, &["orders"]).await;
    let mut consumer = Consumer::open_in_order(&connection).await.unwrap();
    consumer.consume("orders", 1_000).await.unwrap();
    let mut arrived: Vec<(String, String)> = Vec::new();
    let mut writers = writers(&server).await;
    let mut relays = [Relaying::start(&config, &server), Relaying::start(&config, &server)];
    for round in 0..24 {
        let life = Duration::from_millis(20 + fastrand::u64(..300));
        let end = tokio::time::Instant::now() + life;
        while let Ok(delivered) = tokio::time::timeout_at(end, consumer.next()).await {
            let delivered = delivered.unwrap();
            let id = delivered.message.properties.message_id.as_ref().unwrap().to_string();
            arrived.push((id, body(&delivered.message)));
            consumer.settle(delivered.tag);
            consumer.flush().await.unwrap();
        }
        match round {
            8 => {
                server.kill();
                server.start_again().await;
            }
            3 | 13 | 17 => {
                server
                    .sql(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE query LIKE '%dormouse_outbox AS this%' AND pid <> pg_backend_pid()",
                    )
                    .await;
            }
            _ => {
                let fresh = Relaying::start(&config, &server);
                std::mem::replace(&mut relays[round % 2], fresh).kill();
            }
        }
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let places = server_places(&server).await;
    let total: i64 = places.values().sum();
    let mut seen: HashSet<String> = arrived.iter().map(|(id, _)| id.clone()).collect();
    while (seen.len() as i64) < total {
        let next = tokio::time::timeout(DEADLINE, consumer.next()).await.expect("all come");
        let delivered = next.unwrap();
        let id = delivered.message.properties.message_id.as_ref().unwrap().to_string();
        seen.insert(id.clone());
        arrived.push((id, body(&delivered.message)));
        consumer.settle(delivered.tag);
        consumer.flush().await.unwrap();
    }
    // what comes a second time is told by its id; what comes first comes in order, without a gap
    let mut known = HashSet::new();
    let mut last = HashMap::<&str, i64>::new();
    for (id, body) in arrived.iter().filter(|(id, _)| known.insert(id)) {
        let (key, place) = body.split_once(' ').unwrap();
        let place: i64 = place.parse().unwrap();
        let before = last.insert(key, place).unwrap_or(0);
        assert_eq!(place, before + 1, "{id}: {key} {place} came after {before}");
    }
    let last: BTreeMap<String, i64> = last.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
    assert_eq!(last, places, "each that was committed has come");
    until("the rows are gone", async || server.count("dormouse_outbox").await == 0).await;
    for relay in relays {
        relay.stop().await;
    }
    broker.drop_it().await;
}

/// How many rows of each key were committed.
async fn server_places(server: &PostgresServer) -> BTreeMap<String, i64> {
    let client = sql(server).await;
    let rows = client.query("SELECT key, place FROM places WHERE place > 0", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
