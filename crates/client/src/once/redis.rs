//! Marks in Redis: quick, beside the effect, under a lease.
//!
//! Each key holds the token of the worker that has the message, or `done`. Leases are measured by
//! Redis's clock and the worker's own monotonic one; no two wall clocks are compared.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, FromRedisValue, RedisError, Script, ScriptInvocation};
use tracing::info;

use super::{Begin, Id, Store, StoreError};

const STORE: &str = "Redis";
const DONE: &str = "done";

/// One atomic set-if-absent; if there is something, what it is.
const BEGIN: &str = "
    if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'new', 0} end
    if redis.call('GET', KEYS[1]) == 'done' then return {'done', 0} end
    return {'in progress', redis.call('PTTL', KEYS[1])}";

/// If the lease ran out and nobody has the message, it is marked all the same: the effect is there.
const COMPLETE: &str = "
    local owner = redis.call('GET', KEYS[1])
    if owner and owner ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], 'done', 'PX', ARGV[2])
    return 1";

const ABORT: &str = "
    if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
    return 1";

/// If nobody has the message (Redis lost its memory), it is claimed anew.
const RENEW: &str = "
    local owner = redis.call('GET', KEYS[1])
    if owner and owner ~= ARGV[1] then return 0 end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1";

/// Where marks are, how long they last, and how patient the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Whose marks these are: two services that both have to handle a message need two scopes.
    pub scope: String,
    /// How long a worker that died blocks its message, at least 100 ms. A living one renews. Default 30 s.
    pub lease: Duration,
    /// How long a mark lasts: longer than a duplicate may be late, retries included. Default 7 days.
    pub remember: Duration,
    /// A slower answer is none. Default 2 s.
    pub answer_within: Duration,
}

impl RedisSettings {
    /// The defaults, for one scope.
    pub fn new(scope: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            lease: Duration::from_secs(30),
            remember: Duration::from_secs(7 * 86_400),
            answer_within: Duration::from_secs(2),
        }
    }
}

/// Connects on its first use, and again whenever the connection is lost, leads to a server that may not
/// write any more, or gives no answer: the address may lead elsewhere by then.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    /// In use by all clones.
    line: Arc<Mutex<Line>>,
    settings: RedisSettings,
}

/// A connection, and how many there were before it: who finds it broken replaces this one and no newer.
#[derive(Clone)]
struct Line {
    connection: ConnectionManager,
    number: u64,
}

/// A lease on one message. It gives the handler nothing: the effect is elsewhere.
#[derive(Debug)]
pub struct RedisClaim {
    key: String,
    token: String,
    /// When the claim was asked for: Redis counts its lease from a later moment.
    asked: Instant,
}

impl Redis {
    /// `uri` such as `redis://localhost:6379/0`. Does not connect yet; must be called inside a tokio
    /// runtime.
    pub fn new(uri: &str, mut settings: RedisSettings) -> Result<Self, StoreError> {
        settings.lease = settings.lease.max(SHORTEST_LEASE);
        let refused = |error: RedisError| {
            // an address may hold a password, so it is not repeated
            StoreError::Refused { store: STORE, problem: error.to_string() }
        };
        let client = Client::open(uri).map_err(refused)?;
        let connection = connection(&client, &settings).map_err(refused)?;
        let line = Arc::new(Mutex::new(Line { connection, number: 0 }));
        Ok(Self { client, line, settings })
    }

    /// Never held over an await.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects anew, unless somebody has since this connection was used.
    fn replace(&self, number: u64, why: &StoreError) {
        let mut line = self.line();
        if line.number != number {
            return;
        }
        // what can be wrong with an address was wrong at the start
        if let Ok(connection) = connection(&self.client, &self.settings) {
            info!(%why, "connecting to Redis anew, as its address may lead to another server now");
            *line = Line { connection, number: number + 1 };
        }
    }

    async fn call<T: FromRedisValue>(
        &self,
        script: &'static str,
        key: &str,
        token: &str,
        expires: Duration,
    ) -> Result<T, StoreError> {
        let script = Script::new(script);
        let mut call = script.key(key);
        call.arg(token).arg(milliseconds(expires));
        self.answer(&call).await
    }

    async fn answer<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let Line { mut connection, number } = self.line().clone();
        let answer = within(self.settings.answer_within, call.invoke_async(&mut connection));
        let error = match answer.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => said(&error),
            Err(error) => error,
        };
        if let StoreError::Unavailable { .. } = error {
            self.replace(number, &error);
        }
        Err(error)
    }

    /// What `PTTL` says is left of another's lease.
    fn left(&self, ms: i64) -> Duration {
        match u64::try_from(ms) {
            Ok(ms) => Duration::from_millis(ms + 1),
            // -1: no expiry, so nobody of ours has set it
            Err(_) => self.settings.lease,
        }
    }

    async fn renew(&self, claim: &RedisClaim) -> Result<bool, StoreError> {
        self.call(RENEW, &claim.key, &claim.token, self.settings.lease).await
    }
}

fn connection(client: &Client, settings: &RedisSettings) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        // so that a Redis that is back is found while somebody waits for its answer
        .set_max_delay(settings.answer_within / 8)
        .set_response_timeout(Some(settings.answer_within))
        .set_connection_timeout(Some(settings.answer_within));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

/// Answers that are about this server at this moment, and not about what it was asked: a master that was
/// demoted by a failover, one that loads its data, one cut off from its replicas or its cluster, one that
/// is busy with a script or has no memory left. <https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>
const NOT_NOW: [&str; 9] = [
    "READONLY",
    "OOM",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
];

/// A client of a single server cannot follow these.
const OF_A_CLUSTER: [&str; 3] = ["MOVED", "ASK", "CROSSSLOT"];

/// What an error means for a store.
fn said(error: &RedisError) -> StoreError {
    let problem = error.to_string();
    // before Redis 7 an error inside a script is an `ERR` whose text has the code
    let is = |code: &&str| {
        error.code() == Some(*code)
            || error.detail().is_some_and(|detail| detail.contains(&format!("-{code} ")))
    };
    if OF_A_CLUSTER.iter().any(is) {
        let problem = format!(
            "{problem}. This is a node of a Redis Cluster, which Dormouse does not follow: give it a single \
             Redis, or an address in front of the cluster that does"
        );
        return StoreError::Refused { store: STORE, problem };
    }
    let lost = error.is_io_error() || error.is_timeout() || error.is_connection_dropped();
    if lost || NOT_NOW.iter().any(is) {
        StoreError::Unavailable { store: STORE, problem }
    } else {
        StoreError::Refused { store: STORE, problem }
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(limit, answer).await.map_err(|_| StoreError::Unavailable {
        store: STORE,
        problem: format!("no answer within {} ms", limit.as_millis()),
    })
}

/// One that is shorter would be over before it can be renewed: no handler would ever end.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Moments beyond this have no place in a clock.
const LONGEST_LEASE: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Redis takes no expiry of zero.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}

impl Store for Redis {
    type Claim = RedisClaim;

    async fn begin(&self, id: &Id) -> Result<Begin<RedisClaim>, StoreError> {
        let claim = RedisClaim {
            key: format!("dormouse:once:{}:{}", self.settings.scope, id.as_str()),
            token: uuid::Uuid::now_v7().to_string(),
            asked: Instant::now(),
        };
        let (state, left_ms): (String, i64) =
            self.call(BEGIN, &claim.key, &claim.token, self.settings.lease).await?;
        Ok(match state.as_str() {
            "new" => Begin::New(claim),
            DONE => Begin::Done,
            _ => Begin::InProgress { retry_after: self.left(left_ms) },
        })
    }

    async fn complete(&self, claim: RedisClaim) -> Result<(), StoreError> {
        let remember = self.settings.remember;
        let marked: bool = self.call(COMPLETE, &claim.key, &claim.token, remember).await?;
        if marked { Ok(()) } else { Err(taken_over()) }
    }

    async fn abort(&self, claim: RedisClaim) -> Result<(), StoreError> {
        self.call(ABORT, &claim.key, &claim.token, Duration::ZERO).await
    }

    /// Renews at a third of the lease, and gives up when a tenth is left, as by then Redis may
    /// count faster than this machine.
    async fn keep(&self, claim: &RedisClaim) -> StoreError {
        // longer than it could be renewed in vain
        let lease = self.settings.lease.min(LONGEST_LEASE);
        let mut renewed = claim.asked;
        let mut next = renewed + lease / 3;
        loop {
            tokio::time::sleep_until(next.into()).await;
            let asked = Instant::now();
            let safe_until = renewed + lease.mul_f64(0.9);
            let answer = tokio::time::timeout_at(safe_until.into(), self.renew(claim)).await;
            let problem = match answer {
                Ok(Ok(true)) => {
                    renewed = asked;
                    next = renewed + lease / 3;
                    continue;
                }
                Ok(Ok(false)) => return taken_over(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            next = Instant::now() + lease / 20;
            if next >= safe_until {
                return StoreError::LeaseLost(format!("it could not be renewed: {problem}"));
            }
        }
    }
}

fn taken_over() -> StoreError {
    StoreError::LeaseLost("it had run out, and another worker has the message".to_owned())
}
