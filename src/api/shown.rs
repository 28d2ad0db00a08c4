//! What the index answers, for the OpenAPI document only: the answers themselves are made by the index, which the API does not
//! know. Whether they are so, tests/broker/api_fuzz.rs asks.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// What an answer may lack.
#[derive(Serialize, ToSchema)]
pub struct Completeness {
    /// Nothing is missing up to `lag_ms` ago.
    complete: bool,
    /// How old the answer is; absent if nothing of the ledger was read yet.
    lag_ms: Option<u64>,
    gaps: Vec<Gap>,
}

/// Something that may be missing, until a census.
#[derive(Serialize, ToSchema)]
pub struct Gap {
    /// As docs/index.md tells.
    #[schema(example = "silent")]
    kind: String,
    /// Who wrote what is missing.
    writer: Option<String>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    /// Events, or batches, as far as they were counted.
    missing: Option<u64>,
}

/// A message, as far as it is known.
#[derive(Serialize, ToSchema)]
pub struct IndexedMessage {
    /// `x-dormouse-id`.
    id: String,
    #[schema(example = "scheduled")]
    state: String,
    /// The `id` of a 201.
    message_id: Option<String>,
    key: Option<String>,
    target: Option<IndexedTarget>,
    #[schema(format = DateTime)]
    due_at: Option<String>,
    due_ms: Option<u64>,
    /// When it comes: with attempts that failed, later than it was due.
    #[schema(format = DateTime)]
    comes_at: Option<String>,
    comes_ms: Option<u64>,
    attempt: u32,
    body_bytes: u64,
    /// Why it is dead or was dropped.
    reason: Option<String>,
    detail: Option<String>,
}

/// Where a message goes.
#[derive(Serialize, ToSchema)]
pub struct IndexedTarget {
    /// Empty for a queue.
    exchange: String,
    routing_key: String,
}

/// A page of messages, those that come first first.
#[derive(Serialize, ToSchema)]
pub struct IndexedPage {
    messages: Vec<IndexedMessage>,
    /// The cursor of the next page, if there is one.
    next: Option<String>,
    #[serde(flatten)]
    lacks: Completeness,
}

/// The newest message with that id or key.
#[derive(Serialize, ToSchema)]
pub struct IndexedFound {
    #[serde(flatten)]
    message: IndexedMessage,
    /// Where it is, by the plan.
    #[schema(value_type = Object)]
    place: (),
    history: Vec<IndexedEvent>,
    /// Others with the same key.
    earlier: Option<Vec<IndexedMessage>>,
    #[serde(flatten)]
    lacks: Completeness,
}

/// What happened to a message.
#[derive(Serialize, ToSchema)]
pub struct IndexedHistory {
    id: String,
    history: Vec<IndexedEvent>,
    #[serde(flatten)]
    lacks: Completeness,
}

/// Something that happened to a message.
#[derive(Serialize, ToSchema)]
pub struct IndexedEvent {
    at_ms: u64,
    #[schema(example = "scheduled")]
    event: String,
    wake_ms: Option<u64>,
    attempt: Option<u32>,
    detail: Option<String>,
}

/// How many messages match.
#[derive(Serialize, ToSchema)]
pub struct IndexedCount {
    messages: u64,
    /// By state; one that no message has is left out.
    states: BTreeMap<String, u64>,
    #[serde(flatten)]
    lacks: Completeness,
}

/// How many messages come when.
#[derive(Serialize, ToSchema)]
pub struct IndexedLoad {
    #[schema(example = "hour")]
    step: String,
    from_ms: u64,
    to_ms: u64,
    messages: u64,
    /// Those in which any come.
    steps: Vec<IndexedStep>,
    /// The 20 with most of them.
    targets: Vec<IndexedTargetLoad>,
    #[serde(flatten)]
    lacks: Completeness,
}

/// What comes in one step.
#[derive(Serialize, ToSchema)]
pub struct IndexedStep {
    from_ms: u64,
    messages: u64,
}

/// What comes for one target.
#[derive(Serialize, ToSchema)]
pub struct IndexedTargetLoad {
    target: Option<IndexedTarget>,
    messages: u64,
}
