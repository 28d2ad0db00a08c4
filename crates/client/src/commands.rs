//! Commands and unique schedules, each with its answer: on a connection of their own, from the first one on, so that
//! a reply is not lost with a channel that RabbitMQ closes over somebody's message.

use std::sync::Arc;
use std::time::Duration;

use dormouse_core::control::command::{self, MOST_KEYS};
use dormouse_core::control::{self, Key, Reply, Told};
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::error::{CommandError, Problem, Unanswered};
use super::publish_request::PublishRequest;
use super::publishing::{Answered, Availability, Publishing};
use crate::amqp::{AmqpError, pauses};
use crate::config::Config;
use crate::message::Message;
use crate::schedule::UnixMs;
use crate::topology::Names;

/// What became of a command for a key, or of a unique schedule; a refusal says why. What each means, and how far it
/// can be relied on, is in docs/control.md.
pub type Outcome = control::Outcome<String>;

/// Commands of one call that are under way at once.
const AT_ONCE: usize = 10;

/// Where commands go. Cheap to clone; the connection is closed with the last clone.
#[derive(Debug, Clone)]
pub struct Commands {
    config: Arc<Config>,
    publishing: Arc<OnceCell<Publishing>>,
}

/// What is to become of some keys.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Nothing with them is tried any more.
    Cancel {
        /// None of them is due later.
        due_by: Option<UnixMs>,
    },
    /// Nothing with them is tried before.
    Reschedule {
        /// Later than what stands.
        due: UnixMs,
    },
    /// What was scheduled with the one key is looked for, and comes then.
    RunNow {
        /// Now, if there is none.
        due: Option<UnixMs>,
    },
}

/// How long a run-now may wait for those before it, and look.
const RUNNING: Duration = Duration::from_secs(120);

impl Commands {
    pub fn new(config: Config) -> Self {
        Self { config: config.into(), publishing: Arc::default() }
    }

    /// Publishes as many commands as it takes, and waits for the answers. One for each key, in their order.
    pub async fn of_keys(
        &self,
        keys: Vec<String>,
        command: Command,
        within: Duration,
    ) -> Vec<Result<Outcome, CommandError>> {
        let read: Vec<_> = keys.iter().map(|key| Key::new(key.as_bytes())).collect();
        let good: Vec<_> = read.iter().filter_map(|key| key.as_ref().ok().cloned()).collect();
        let asked = good.chunks(MOST_KEYS).map(|keys| self.of_few_keys(keys, command, within));
        // named first: a stream of closures over borrowed keys could not move between threads
        let asked: Vec<_> = asked.collect();
        let answers = stream::iter(asked).buffered(AT_ONCE).flat_map(stream::iter);
        let answers: Vec<_> = answers.collect().await;
        let mut answers = answers.into_iter();
        let each = read.into_iter().map(|key| match key {
            Ok(_) => answers.next().unwrap_or(Err(Unanswered::Lost.into())),
            Err(fault) => Err(Problem::Key(fault).into()),
        });
        each.collect()
    }

    /// No more than one command takes.
    async fn of_few_keys(
        &self,
        keys: &[Key],
        command: Command,
        within: Duration,
    ) -> Vec<Result<Outcome, CommandError>> {
        let exchange = Names::of(&self.config).command();
        let message: Message = match command {
            Command::Cancel { due_by } => command::cancel(&exchange, keys, due_by),
            Command::Reschedule { due } => command::reschedule(&exchange, keys, due),
            Command::RunNow { due } => command::run_now(&exchange, &keys[0], due),
        };
        let asked = self.ask(PublishRequest::Command(message.into()), within).await;
        let told = asked.map_err(CommandError::from).and_then(|answered| {
            let Answered { body, has_begun } = answered;
            match (body, command) {
                // it looks, and what it finds is not known here
                (Err(Unanswered::Silent { .. } | Unanswered::Lost), Command::RunNow { .. })
                    if has_begun =>
                {
                    Ok(keys.iter().map(|_| Outcome::Running).collect())
                }
                (body, _) => Ok(read(&body?, keys)?),
            }
        });
        match told {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Publishes a unique schedule of this key, and waits for what was decided.
    ///
    /// Errors: it is not confirmed. What is confirmed is scheduled, answered or not.
    pub async fn place(
        &self,
        key: &Key,
        request: PublishRequest,
        within: Duration,
    ) -> Result<Result<Outcome, Unanswered>, Problem> {
        let answered = self.ask(request, within).await?;
        Ok(answered.body.and_then(|body| {
            let outcomes = read(&body, std::slice::from_ref(key))?;
            outcomes.into_iter().next().ok_or(Unanswered::Lost)
        }))
    }

    /// Publishes it, and waits for its answer.
    pub async fn ask(
        &self,
        request: PublishRequest,
        within: Duration,
    ) -> Result<Answered, Problem> {
        let connected = timeout(within, self.publishing.get_or_init(|| self.connect())).await;
        let why = "RabbitMQ cannot be reached";
        let publishing = connected.map_err(|_| Problem::NotSent { why })?;
        publishing.ask_within(request, within, RUNNING).await
    }

    /// What it connects by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether RabbitMQ takes commands now; nobody knows before the first one.
    pub fn availability(&self) -> Availability {
        self.publishing.get().map_or(Availability::Ready, Publishing::availability)
    }

    /// For as long as somebody waits for it.
    async fn connect(&self) -> Publishing {
        let mut pauses = pauses(&self.config.broker);
        loop {
            let error: AmqpError = match Publishing::open_with_answers(&self.config).await {
                Ok(publishing) => return publishing,
                Err(error) => error,
            };
            warn!(%error, "the client cannot connect to send commands; trying again");
            sleep(pauses.next().unwrap_or(self.config.broker.reconnect_max)).await;
        }
    }

    /// Waits until all that was asked for is settled, and closes the connection, if no other clone is there.
    pub async fn close(self) {
        let publishing = Arc::into_inner(self.publishing).and_then(OnceCell::into_inner);
        if let Some(publishing) = publishing {
            publishing.close().await;
        }
    }
}

/// One outcome for each key. A command that was refused as a whole is so for each.
fn read(body: &[u8], keys: &[Key]) -> Result<Vec<Outcome>, Unanswered> {
    let unreadable = |problem: String| Unanswered::Unreadable { problem };
    match Reply::decode(body).map_err(|error| unreadable(error.to_string()))? {
        Reply::Refused(reason) => {
            Ok(keys.iter().map(|_| Outcome::Refused(reason.clone())).collect())
        }
        Reply::Results(told) if told.len() == keys.len() => {
            Ok(told.into_iter().map(|Told { outcome, .. }| outcome).collect())
        }
        Reply::Results(told) => {
            Err(unreadable(format!("it tells of {} keys, not {}", told.len(), keys.len())))
        }
    }
}
