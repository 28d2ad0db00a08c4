//! One connection's worth of being a candidate, and perhaps the leader.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::election::{Act, Arrival, Ballot, Deposed, Election};
use super::leadership::Leadership;
use crate::amqp::{AmqpError, Connection, Consumer, Delivered, Outcome, Publisher};
use crate::clock::Clock;
use crate::far;

/// Ballots unacknowledged at once: one is held, the others are settled as they come.
const PREFETCH: u16 = 16;

/// A proof that has not come back after so many intervals will not.
const PATIENCE: u32 = 2;

/// Why a session is over.
#[derive(Debug)]
pub enum End<T> {
    /// What the leader had to do is done.
    Done(T),
    /// The stop signal.
    Stopped,
    /// Somebody else leads.
    Deposed,
    /// A proof has not come back in time: it is not known who leads.
    Unproven,
}

/// How a candidate campaigns.
#[derive(Debug, Clone)]
pub struct Campaign {
    pub queue: String,
    /// Between two proofs.
    pub prove_every: Duration,
    /// How long the work may take to end after a stop.
    pub grace: Duration,
}

/// From the candidacy to the end, whatever that is.
pub struct Session<'a, W, Working> {
    campaign: &'a Campaign,
    election: Election,
    consumer: Consumer,
    publisher: Publisher<()>,
    work: &'a mut W,
    term: Option<Term<Working>>,
    /// When the last claim was published.
    claimed: Instant,
}

/// A leadership.
struct Term<Working> {
    working: Pin<Box<Working>>,
    ends: CancellationToken,
    /// When the newest proof that has come back was published: it led then, or later.
    proven: Instant,
    /// When the proof on its way was published.
    proving: Option<Instant>,
}

impl<'a, W, Working> Session<'a, W, Working>
where
    W: FnMut(Leadership) -> Working,
    Working: Future,
{
    pub async fn open(
        campaign: &'a Campaign,
        connection: &Connection,
        work: &'a mut W,
    ) -> Result<Self, AmqpError> {
        let mut consumer = Consumer::open_in_order(connection).await?;
        let publisher = connection.publisher().await?;
        consumer.consume(&campaign.queue, PREFETCH).await?;
        let election = Election::new(Uuid::now_v7().to_string());
        let claimed = Instant::now();
        Ok(Self { campaign, election, consumer, publisher, work, term: None, claimed })
    }

    /// Runs until an end. Whatever this candidate holds goes back when the channel closes, after it.
    ///
    /// Errors: the connection or a channel is gone.
    pub async fn run(
        &mut self,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> Result<End<Working::Output>, AmqpError> {
        let ended = self.campaign(connection, stop).await;
        if let Some(term) = self.term.take() {
            term.ends.cancel();
        }
        ended
    }

    async fn campaign(
        &mut self,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> Result<End<Working::Output>, AmqpError> {
        let mut stopping: Option<Instant> = None;
        self.publish(self.election.candidacy());
        loop {
            let patience = self.campaign.prove_every * PATIENCE;
            let now = Instant::now();
            let next_proof = self.term.as_ref().filter(|term| term.proving.is_none());
            let next_proof = next_proof.map(|term| term.proven + self.campaign.prove_every);
            let unproven = self.term.as_ref().map(|term| term.proven + patience);
            // the work comes last, and not at all once nothing proves that this is the leader
            tokio::select! {
                biased;
                error = connection.lost() => return Err(error),
                () = sleep_until(unproven.unwrap_or(now).into()), if unproven.is_some() => {
                    return Ok(End::Unproven);
                }
                () = stop.cancelled(), if stopping.is_none() => match &self.term {
                    None => return Ok(End::Stopped),
                    Some(term) => {
                        term.ends.cancel();
                        stopping = Some(far::after(Instant::now(), self.campaign.grace));
                    }
                },
                () = sleep_until(stopping.unwrap_or(now).into()), if stopping.is_some() => {
                    return Ok(End::Stopped);
                }
                settled = self.publisher.settled() => confirmed(settled)?,
                delivered = self.consumer.next() => {
                    if let Some(end) = self.arrived(delivered?) {
                        return Ok(end);
                    }
                    self.consumer.flush().await?;
                }
                () = sleep_until(next_proof.unwrap_or(now).into()), if next_proof.is_some() => {
                    self.prove();
                }
                done = work(&mut self.term, patience) => {
                    return Ok(done.map_or(End::Unproven, End::Done));
                }
            }
        }
    }

    fn arrived(&mut self, delivered: Delivered) -> Option<End<Working::Output>> {
        let Delivered { tag, redelivered, message, .. } = delivered;
        let arrival = Arrival { tag, redelivered, ballot: Ballot::read(&message) };
        let Ok(acts) = self.election.arrived(arrival, Clock::default().now()) else {
            let Deposed = Deposed;
            return Some(End::Deposed);
        };
        for act in acts {
            match act {
                Act::Publish(ballot) => {
                    self.claimed = Instant::now();
                    self.publish(ballot);
                }
                Act::Ack(tag) => self.consumer.settle(tag),
                Act::Lead(token) => self.lead(token),
                Act::Proven => {
                    if let Some(term) = &mut self.term
                        && let Some(proving) = term.proving.take()
                    {
                        term.proven = proving;
                    }
                }
            }
        }
        None
    }

    fn lead(&mut self, token: u64) {
        let ends = CancellationToken::new();
        let working = Box::pin((self.work)(Leadership { token, ends: ends.clone() }));
        self.term = Some(Term { working, ends, proven: self.claimed, proving: None });
    }

    fn prove(&mut self) {
        if let (Some(proof), Some(term)) = (self.election.proof(), &mut self.term) {
            term.proving = Some(Instant::now());
            self.publish(proof);
        }
    }

    fn publish(&mut self, ballot: Ballot) {
        self.publisher.publish(ballot.message(&self.campaign.queue), ());
    }
}

/// A ballot that the queue did not take will not come back.
fn confirmed(settled: Vec<((), Outcome)>) -> Result<(), AmqpError> {
    for ((), outcome) in settled {
        let problem = match outcome {
            Outcome::Confirmed => continue,
            Outcome::Returned { code, text } => format!("returned with {code} {text}"),
            Outcome::Nacked => "its queue is full, or has no majority".to_owned(),
            Outcome::Unknown(closed) => format!("{} {}", closed.code, closed.text),
        };
        return Err(AmqpError::Refused { exchange: String::new(), problem });
    }
    Ok(())
}

/// Polls the leader's work; never ready without any. None once nothing proves that it may: a process that was frozen
/// looks at the clock before it goes on, whatever has woken it.
async fn work<Working: Future>(
    term: &mut Option<Term<Working>>,
    patience: Duration,
) -> Option<Working::Output> {
    poll_fn(|context| match term {
        None => Poll::Pending,
        Some(term) if term.proven.elapsed() > patience => Poll::Ready(None),
        Some(term) => term.working.as_mut().poll(context).map(Some),
    })
    .await
}
