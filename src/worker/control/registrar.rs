//! The registrar's session: what is done with RabbitMQ around [`Registrar`], in the steps that it names. Whatever
//! goes wrong ends the session: its channel closes, and the commands go to the next, in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::{
    Answer, Candidate, Command, EVERY_OTHER, Epoch, Key, Limits, LogMessage, MOST_UNACKED, Outcome,
    Read, Refusal, Registrar, Reply,
};
use tokio::time::sleep_until;
use tracing::info;

use super::answers::Answers;
use super::known::Control;
use super::order::{Order, ReplyTo};
use super::placing::Placing;
use super::pull::{Asked, Pulls};
use super::ticks::{Ticking, answer as body_of};
use crate::amqp::{AmqpError, Connection, Consumer, Outcome as Published, Publisher};
use crate::config::Config;
use crate::message::Message;
use crate::schedule::UnixMs;
use crate::topology::Names;
use crate::worker::Clock;
use crate::worker::dispatch::Dispatch;
use crate::worker::ledger::{Gate, Ledger};

mod deciding;
mod ticking;

/// What is not read back by then never will be.
const PATIENCE: Duration = Duration::from_secs(15);
/// The log's time needs no more: keys are remembered for minutes at least.
const BEAT: Duration = Duration::from_secs(10);
/// A checkpoint is begun after so many bytes of log: the stream keeps eight times as much.
const BYTES_BETWEEN_CHECKPOINTS: u64 = 64 << 20;
/// Deliveries taken before anything else is looked at.
const TOGETHER: usize = 256;

/// Why a session of the registrar is over. Another one follows.
pub(super) struct Ended(pub String);

/// What all sessions of a process have in common.
pub(super) struct Parts {
    pub control: Arc<Control>,
    pub dispatch: Arc<Dispatch>,
    pub config: Arc<Config>,
    pub names: Names,
    pub clock: Clock,
    /// Of what happens to messages, if it is on.
    pub ledger: Option<Arc<Ledger>>,
    /// Of run-nows.
    pub pulls: Pulls,
    /// By the operator's word, what can be read of the log is all there is.
    pub accepts: bool,
}

/// A consumer of the command queue, which may become the active one.
pub(super) struct Session {
    parts: Arc<Parts>,
    limits: Limits,
    consumer: Consumer,
    log: Publisher<()>,
    ticking: Ticking,
    placing: Placing,
    answers: Answers,
    candidate: Candidate,
    announced: Option<Instant>,
    registrar: Option<Registrar>,
    /// Received, and not yet decided.
    received: VecDeque<Order>,
    /// What was returned is complete, and so many of it are still to be passed over as decided.
    decided: Option<usize>,
    /// Of what was returned, what is still to come.
    returned: usize,
    /// Decided, and not yet read back.
    waiting: VecDeque<Waiting>,
    /// Holds what is read back until the ledger, if it is on, has what was noted with it.
    gate: Gate,
    passed: u64,
    last_beat: Instant,
    checkpoint: Checkpoint,
    /// To be dead-lettered as they are: RabbitMQ takes them from nobody.
    rejected: Vec<u64>,
    failed: Option<String>,
}

/// A delivery that is decided.
struct Waiting {
    tag: u64,
    verb: &'static str,
    reply: Option<ReplyTo>,
    keys: Vec<Key>,
    answer: Answer,
    /// It was no command.
    refused: Option<Refusal>,
    ends: Ends,
    since: Instant,
}

/// What follows when a command has been read back, beside its answer.
enum Ends {
    WithAnswer,
    /// It is looked for, and comes at that time, or now.
    RunNow(Option<UnixMs>),
    /// A worker is told by which entry.
    Move,
}

/// A checkpoint is written in parts, and read back some time after the last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    None,
    UnderWay,
    Written,
}

impl Session {
    /// Begins to consume. None: this worker does not know what is so, and may not decide.
    pub async fn stand(
        parts: Arc<Parts>,
        connection: &Arc<Connection>,
    ) -> Result<Option<Self>, AmqpError> {
        let Parts { control, dispatch, config, names, clock, accepts, .. } = &*parts;
        // what is delivered was delivered after this
        let Some(candidate) = control.candidate(clock.now(), *accepts) else { return Ok(None) };
        let mut consumer = Consumer::open_in_order(connection).await?;
        let log = connection.publisher().await?;
        let ticking = Ticking::open(connection).await?;
        let placing = Placing::open(control, dispatch, config, connection).await?;
        let answers = Answers::open(connection).await?;
        consumer.consume(&names.command(), MOST_UNACKED as u16).await?;
        let limits = Limits {
            keys: config.commands.max_keys as usize,
            longest_delay: config.topology.max_delay,
            memory: config.commands.memory,
        };
        Ok(Some(Self {
            limits,
            consumer,
            log,
            ticking,
            placing,
            answers,
            candidate,
            announced: None,
            registrar: None,
            received: VecDeque::new(),
            decided: None,
            returned: 0,
            waiting: VecDeque::new(),
            gate: Gate::new(parts.ledger.clone()),
            passed: 0,
            last_beat: Instant::now(),
            checkpoint: Checkpoint::None,
            rejected: Vec::new(),
            failed: None,
            parts: parts.clone(),
        }))
    }

    /// Whether its commands are those that count.
    pub fn is_elected(&self) -> bool {
        self.registrar.is_some()
    }

    /// Takes what comes: deliveries and confirms. Cancel safe.
    ///
    /// Errors: the channel is gone.
    pub async fn next(&mut self) -> Result<(), AmqpError> {
        let acks_at = self.consumer.acks_at();
        tokio::select! {
            settled = self.log.settled() => {
                for ((), outcome) in settled {
                    if outcome != Published::Confirmed {
                        self.failed = Some(format!("the log did not take it: {}", outcome.answer()));
                    }
                }
            }
            passed = self.gate.opened() => self.passed = passed.last().copied().unwrap_or(self.passed),
            () = self.placing.settled() => {}
            () = self.ticking.settled() => {}
            () = self.answers.settled() => {}
            delivered = self.consumer.next_together(TOGETHER) => {
                let names = &self.parts.names;
                self.received.extend(delivered?.into_iter().map(|one| Order::read(one, names)));
            }
            () = sleep_until(acks_at.unwrap_or_else(Instant::now).into()), if acks_at.is_some() => {}
        }
        Ok(())
    }

    /// An epoch stood in the log.
    pub fn epoch_read(&mut self, epoch: &Epoch, read: Read) -> Result<(), Ended> {
        if self.candidate.epoch.epoch != epoch.epoch || self.registrar.is_some() {
            return Ok(());
        }
        match self.parts.control.elected(&self.candidate) {
            Some(mut registrar) if read == Read::Applied => {
                if self.parts.accepts {
                    registrar.accept(EVERY_OTHER);
                    self.checkpoint = Checkpoint::UnderWay;
                }
                info!(name: "commands-registrar", "decides commands from now on");
                self.parts.control.gauges.registrar.set(1.0);
                self.registrar = Some(registrar);
                self.last_beat = Instant::now();
                Ok(())
            }
            Some(_) | None => Err(ended("its epoch counts for nobody")),
        }
    }

    /// Does what can be done with what has come and what was read.
    pub fn work(&mut self) -> Result<(), Ended> {
        if let Some(failed) = self.failed.take() {
            return Err(Ended(failed));
        }
        if let Some(failed) = self.placing.failed() {
            return Err(ended(failed));
        }
        if !self.announce()? {
            return Ok(());
        }
        self.read_back()?;
        self.beat();
        while self.placing.outstanding() == 0 {
            self.append();
            if !self.tell_returned()? || !self.decide_some()? {
                break;
            }
        }
        self.ask_for_ticks();
        // what is no command waits for nothing
        self.read_back()
    }

    /// Sends acks, and opens anew what can be.
    ///
    /// Errors: the channel is gone.
    pub async fn tend(&mut self) -> Result<(), AmqpError> {
        self.answers.mend().await?;
        for tag in std::mem::take(&mut self.rejected) {
            self.consumer.reject(tag).await?;
        }
        self.consumer.tend().await
    }

    /// At the first delivery it appends its epoch. False while it is no registrar.
    fn announce(&mut self) -> Result<bool, Ended> {
        let Candidate { epoch } = self.candidate;
        match self.announced {
            None if !self.received.is_empty() => {
                self.announced = Some(Instant::now());
                self.publish(&LogMessage::Epoch(epoch));
            }
            None if self.parts.control.epoch() != epoch.previous => {
                return Err(ended("another epoch has begun"));
            }
            None => {}
            Some(at) if self.registrar.is_none() && at.elapsed() > PATIENCE => {
                return Err(ended("its epoch does not come back"));
            }
            Some(_) => {}
        }
        Ok(self.registrar.is_some())
    }

    /// Answers and acknowledges what has been read back.
    fn read_back(&mut self) -> Result<(), Ended> {
        let registrar = self.registrar.as_mut().expect("elected");
        let mut last = self.parts.control.read_back(registrar).map_err(ended)?;
        if !self.gate.is_empty() {
            last = last.min(self.passed);
        }
        while let Some(waiting) = self.waiting.pop_front_if(|w| w.answer.sequence <= last) {
            let Waiting { tag, verb, reply, keys, mut answer, refused, ends, .. } = waiting;
            let entry = matches!(ends, Ends::Move).then_some(answer.sequence);
            if let (Ends::RunNow(due), [running @ Outcome::Running], [key]) =
                (ends, &mut answer.outcomes[..], &keys[..])
            {
                let asked = Asked { key: key.clone(), due, reply: reply.clone() };
                if let Err(refusal) = self.parts.pulls.ask(asked) {
                    *running = Outcome::Refused(refusal);
                }
            }
            if !self.rejected.contains(&tag) {
                self.consumer.settle(tag);
            }
            let is_refused = refused.is_some() || matches!(answer.told, Some(Err(_)));
            self.parts.control.gauges.decided(verb, &answer.outcomes, is_refused);
            let Some(to) = reply else { continue };
            let reply = match (&refused, answer.told) {
                (Some(refusal), _) => Reply::to_unreadable(refusal).encode(),
                (None, Some(Err(refusal))) => Reply::to_unreadable(&refusal).encode(),
                (None, Some(Ok(told))) => body_of(told),
                (None, None) => Reply::to_keys(&keys, answer.outcomes).encode(),
            };
            self.answers.send(&self.parts.dispatch.rules, to, reply, entry);
        }
        let oldest = self.waiting.front().map(|waiting| waiting.since);
        if oldest.is_some_and(|since| since.elapsed() > PATIENCE) {
            return Err(ended("what it appended does not come back"));
        }
        Ok(())
    }

    /// Whether all that was returned has come, and so it is known what of it is decided.
    fn tell_returned(&mut self) -> Result<bool, Ended> {
        if self.decided.is_some() {
            return Ok(true);
        }
        let returned = self.received.iter().take_while(|order| order.redelivered).count();
        if returned == self.received.len() && returned < MOST_UNACKED {
            // something that was never delivered has to come, to tell where what was returned ends
            self.parts.control.want_fence();
            return Ok(false);
        }
        let commands: Vec<Command> =
            self.received.iter().take(returned).map(Order::command).collect();
        let registrar = self.registrar.as_ref().expect("elected");
        let decided = registrar.returned(&commands, &mut self.parts.control.known().copies);
        self.decided = Some(decided.ok_or_else(|| ended("something was returned twice"))?);
        self.returned = returned;
        Ok(true)
    }

    fn beat(&mut self) {
        let passed = self.last_beat.elapsed();
        if passed >= BEAT {
            self.last_beat = Instant::now();
            self.registrar.as_mut().expect("elected").beat(passed);
        }
    }

    /// Appends what was decided, and the next part of a checkpoint if one is due.
    fn append(&mut self) {
        let registrar = self.registrar.as_mut().expect("elected");
        let control = &self.parts.control;
        let is_due = control.bytes_since_checkpoint() > BYTES_BETWEEN_CHECKPOINTS;
        self.checkpoint = match self.checkpoint {
            Checkpoint::None if is_due => Checkpoint::UnderWay,
            Checkpoint::Written if !is_due => Checkpoint::None,
            as_before => as_before,
        };
        // one part after another, so that commands wait for none of them
        if self.checkpoint == Checkpoint::UnderWay
            && self.log.is_empty()
            && control.checkpoint(registrar)
        {
            self.checkpoint = Checkpoint::Written;
        }
        if let Some(batch) = registrar.take_batch() {
            self.gate.pass(std::iter::once(batch.last()));
            self.publish(&LogMessage::Batch(batch));
        }
    }

    fn publish(&mut self, message: &LogMessage) {
        let (exchange, body) = (self.parts.names.log(), message.encode().into());
        self.log.publish(Message { exchange, body, ..Message::default() }, ());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.parts.control.gauges.registrar.set(0.0);
    }
}

fn ended(why: impl Into<String>) -> Ended {
    Ended(why.into())
}
