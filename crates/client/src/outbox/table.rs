//! The statements: one row in, a batch out, and how it is settled.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient, Row as Columns};

use super::error::OutboxError;
use super::row::Row;

/// What makes the table, its indexes and its triggers; running it again changes nothing.
pub const DDL: &str = include_str!("table.sql");

/// What a relay listens to.
pub(super) const CHANNEL: &str = "dormouse_outbox";

/// Lane 0 has the rows without order, and any number of relays share it; each of the others is worked on by one
/// connection of one relay at a time.
pub(super) const LANES: i16 = 9;

const INSERT: &str = "
    INSERT INTO dormouse_outbox
        (order_key, message_id, exchange, routing_key, due_at, key, if_exists, properties, headers, body)
    VALUES ($1, $2, $3, $4, to_timestamp($5::float8 / 1000), $6, $7, $8::text::jsonb, $9::text::jsonb, $10)";

/// Beside the 1,024 locks that the table's trigger takes. It ends with the transaction.
const LOCK: &str = "
    SELECT pg_try_advisory_xact_lock('dormouse_outbox'::regclass::oid::integer, 2000 + $1::int2)";

/// A due time is rounded up: never early. A row waits for those before it with its key that are to be tried later.
const NEXT: &str = "
    SELECT id, order_key, message_id, exchange, routing_key, ceil(extract(epoch FROM due_at) * 1000)::int8,
           key, if_exists, properties::text, headers::text, body, attempts
    FROM dormouse_outbox AS this
    WHERE lane = $1 AND failed_at IS NULL AND (retry_at IS NULL OR retry_at <= now())
      AND NOT EXISTS (
          SELECT FROM dormouse_outbox AS before
          WHERE before.order_key = this.order_key AND before.id < this.id
            AND before.failed_at IS NULL AND before.retry_at > now())
    ORDER BY id LIMIT $2 FOR UPDATE OF this";

const DONE: &str = "DELETE FROM dormouse_outbox WHERE id = ANY($1)";

const LATER: &str = "
    UPDATE dormouse_outbox AS row
    SET attempts = attempts + 1, problem = told.problem, retry_at = now() + make_interval(secs => told.pause_s)
    FROM unnest($1::int8[], $2::text[], $3::float8[]) AS told (id, problem, pause_s) WHERE row.id = told.id";

const ASIDE: &str = "
    UPDATE dormouse_outbox AS row
    SET attempts = attempts + 1, problem = told.problem, failed_at = now()
    FROM unnest($1::int8[], $2::text[]) AS told (id, problem) WHERE row.id = told.id";

const WAITING: &str = "
    SELECT count(*) FILTER (WHERE failed_at IS NULL), count(*) FILTER (WHERE failed_at IS NULL AND attempts > 0),
           count(*) FILTER (WHERE failed_at IS NOT NULL),
           extract(epoch FROM now() - min(created_at) FILTER (WHERE failed_at IS NULL))::float8
    FROM dormouse_outbox";

const REDRIVE: &str = "
    UPDATE dormouse_outbox SET failed_at = NULL, retry_at = NULL, attempts = 0
    WHERE failed_at IS NOT NULL AND ($1::text IS NULL OR message_id = $1)";

/// A relay that is frozen, or cut off, holds its rows no longer: another one takes them. It stops publishing long
/// before: see `BATCH_AT_MOST` of the relay.
const SETTINGS: &str = "
    SET idle_in_transaction_session_timeout = '30s';
    SET lock_timeout = '10s'";

/// A row of a batch, locked until its transaction ends.
pub(super) struct Taken {
    pub id: i64,
    pub attempts: u32,
    /// What it stands for, or why that cannot be told.
    pub row: Result<Row, String>,
    pub order_key: Option<String>,
    pub body_bytes: usize,
}

/// How a batch ended.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub done: Vec<i64>,
    pub later: Vec<(i64, String, Duration)>,
    pub aside: Vec<(i64, String)>,
}

/// What is in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Rows that are to be published.
    pub rows: u64,
    /// Of these, rows that were tried and not taken.
    pub tried: u64,
    /// Rows that were set aside, with the reason in the column `problem`.
    pub aside: u64,
    /// Since the oldest that is to be published was inserted.
    pub oldest: Option<Duration>,
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) async fn insert(client: &impl GenericClient, row: &Row) -> Result<(), OutboxError> {
    let text = |json| serde_json::Value::Object(json).to_string();
    let (properties, headers) = (text(row.properties.clone()), text(row.headers.clone()));
    let due_ms = row.due_ms.map(|ms| ms as f64);
    let values: [Parameter<'_>; 10] = [
        (&row.order_key, Type::TEXT),
        (&row.message_id, Type::TEXT),
        (&row.exchange, Type::TEXT),
        (&row.routing_key, Type::TEXT),
        (&due_ms, Type::FLOAT8),
        (&row.key, Type::TEXT),
        (&row.if_exists, Type::TEXT),
        (&properties, Type::TEXT),
        (&headers, Type::TEXT),
        (&row.body, Type::BYTEA),
    ];
    client.execute_typed(INSERT, &values).await?;
    Ok(())
}

pub(super) async fn prepare(client: &Client) -> Result<(), OutboxError> {
    Ok(client.batch_execute(SETTINGS).await?)
}

/// Begins a transaction that has the lane to itself; none if another one has it.
pub(super) async fn begin(client: &Client, lane: i16) -> Result<bool, OutboxError> {
    client.batch_execute("BEGIN").await?;
    if lane == 0 {
        return Ok(true);
    }
    let ours = client.query_typed_one(LOCK, &[(&lane, Type::INT2)]).await?;
    Ok(ours.get(0))
}

/// The next rows of a lane. What another transaction has is passed over where there is no order to keep.
pub(super) async fn next(client: &Client, lane: i16, most: i64) -> Result<Vec<Taken>, OutboxError> {
    let shared = format!("{NEXT} SKIP LOCKED");
    let statement = if lane == 0 { &*shared } else { NEXT };
    let rows = client.query_typed(statement, &[(&lane, Type::INT2), (&most, Type::INT8)]).await?;
    Ok(rows.iter().map(taken).collect())
}

fn taken(columns: &Columns) -> Taken {
    let body: Vec<u8> = columns.get(10);
    let order_key: Option<String> = columns.get(1);
    let object = |column| match serde_json::from_str(columns.get(column)) {
        Ok(serde_json::Value::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err("properties and headers must be JSON objects".to_owned()),
    };
    Taken {
        id: columns.get(0),
        attempts: u32::try_from(columns.get::<_, i32>(11)).unwrap_or(0),
        body_bytes: body.len(),
        row: object(8).and_then(|properties| {
            Ok(Row {
                order_key: order_key.clone(),
                message_id: columns.get(2),
                exchange: columns.get(3),
                routing_key: columns.get(4),
                due_ms: columns.get(5),
                key: columns.get(6),
                if_exists: columns.get(7),
                properties,
                headers: object(9)?,
                body,
            })
        }),
        order_key,
    }
}

/// Notes how each row ended, and ends the transaction.
pub(super) async fn settle(client: &Client, settled: &Settled) -> Result<(), OutboxError> {
    let Settled { done, later, aside } = settled;
    // PostgreSQL's texts have no NUL
    let text = |problem: &str| problem.replace('\0', "");
    if !done.is_empty() {
        client.execute_typed(DONE, &[(done, Type::INT8_ARRAY)]).await?;
    }
    if !later.is_empty() {
        let ids: Vec<i64> = later.iter().map(|(id, ..)| *id).collect();
        let problems: Vec<String> = later.iter().map(|(_, problem, _)| text(problem)).collect();
        let pauses: Vec<f64> = later.iter().map(|(.., pause)| pause.as_secs_f64()).collect();
        let values: [Parameter<'_>; 3] = [
            (&ids, Type::INT8_ARRAY),
            (&problems, Type::TEXT_ARRAY),
            (&pauses, Type::FLOAT8_ARRAY),
        ];
        client.execute_typed(LATER, &values).await?;
    }
    if !aside.is_empty() {
        let ids: Vec<i64> = aside.iter().map(|(id, _)| *id).collect();
        let problems: Vec<String> = aside.iter().map(|(_, problem)| text(problem)).collect();
        let values: [Parameter<'_>; 2] = [(&ids, Type::INT8_ARRAY), (&problems, Type::TEXT_ARRAY)];
        client.execute_typed(ASIDE, &values).await?;
    }
    Ok(client.batch_execute("COMMIT").await?)
}

pub(super) async fn roll_back(client: &Client) -> Result<(), OutboxError> {
    Ok(client.batch_execute("ROLLBACK").await?)
}

/// Counts what is in the outbox. It reads the whole table.
pub async fn waiting(client: &impl GenericClient) -> Result<Waiting, OutboxError> {
    let row = client.query_typed_one(WAITING, &[]).await?;
    let number = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    let oldest: Option<f64> = row.get(3);
    Ok(Waiting {
        rows: number(0),
        tried: number(1),
        aside: number(2),
        oldest: oldest.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
    })
}

/// Has rows tried again that were set aside: all of them, or the one with this `message_id`. Says how many.
pub async fn redrive(
    client: &impl GenericClient,
    message_id: Option<&str>,
) -> Result<u64, OutboxError> {
    Ok(client.execute_typed(REDRIVE, &[(&message_id, Type::TEXT)]).await?)
}
