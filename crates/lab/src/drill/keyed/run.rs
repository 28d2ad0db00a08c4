//! A plan for keys under way: published, answered, delivered, and judged at its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse_core::control::Reply;
use tokio::task::JoinSet;

use super::check::{Answered, Record, check};
use super::plan::{ANSWERS, Plan, TARGET};
use super::verdict::KeyVerdict;
use crate::drill::error::DrillError;
use crate::drill::record::Sent;
use crate::drill::recorder::{self, SeenBook, SentBook, Start, now_ms};
use crate::drill::site::{Site, targets, until};

/// A plan that is carried out.
pub struct KeyRun {
    plan: Arc<Plan>,
    start: Start,
    sent: SentBook,
    seen: SeenBook,
    answers: SeenBook,
    publisher: JoinSet<()>,
    consumers: JoinSet<()>,
}

/// What has not come for so long is lost, as in a run without keys.
const PATIENCE: Duration = Duration::from_secs(200);
/// After the last arrival, for what should not come any more.
const LINGER: Duration = Duration::from_secs(3);
/// An answer that has not come so long after everything else never will.
const ANSWERED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

/// Declares where messages with a key and answers go.
pub async fn declare(site: &Site) -> Result<(), DrillError> {
    site.declare(&targets(&[TARGET, ANSWERS])).await
}

impl KeyRun {
    /// Starts to publish, and to consume what comes of it.
    pub fn begin(site: &Site, plan: Plan) -> Self {
        let mut run = Self {
            plan: Arc::new(plan),
            start: Start::now(),
            sent: SentBook::default(),
            seen: SeenBook::default(),
            answers: SeenBook::default(),
            publisher: JoinSet::new(),
            consumers: JoinSet::new(),
        };
        let (broker, plan) = (|| site.config.broker.clone(), || run.plan.clone());
        run.publisher.spawn(recorder::publish(broker(), plan(), run.start, run.sent.clone()));
        for (queue, book) in [(TARGET, &run.seen), (ANSWERS, &run.answers)] {
            let consume = recorder::consume(broker(), queue.to_owned(), book.clone(), plan());
            run.consumers.spawn(consume);
        }
        run
    }

    /// Waits until RabbitMQ has confirmed all of it.
    pub async fn confirmed(&self) -> Result<(), DrillError> {
        until("everything with a key is confirmed", async || {
            let book = self.book();
            let confirmed = book.values().filter(|sent| sent.confirmed_ms.is_some()).count();
            Ok(confirmed == self.plan.acts.len())
        })
        .await
    }

    fn book(&self) -> HashMap<u32, Sent> {
        self.sent.lock().expect("no panic while noting a publish").clone()
    }

    fn judge(&self) -> KeyVerdict {
        let answers: Vec<Answered> = self
            .answers
            .arrivals()
            .iter()
            .filter_map(|arrival| {
                let number = self.plan.answered(&arrival.message)?;
                let reply = Reply::decode(&arrival.message.body);
                // an answer that cannot be read is one that lies
                let reply = reply.unwrap_or_else(|error| Reply::Refused(error.to_string()));
                Some(Answered { number, at_ms: arrival.at_ms, reply })
            })
            .collect();
        let (sent, seen) = (self.book(), self.seen.arrivals());
        let start_ms = self.start.ms;
        check(&self.plan, &Record { start_ms, sent: &sent, seen: &seen, answers: &answers })
    }

    /// The last time that is named in the plan.
    fn last_due_ms(&self) -> u64 {
        let last = self.plan.acts.iter().filter_map(|act| act.what.due()).max();
        self.start.ms + last.unwrap_or_default().as_millis() as u64
    }

    /// Waits until all has come that has to, and its answers, and judges it.
    pub async fn end(mut self) -> KeyVerdict {
        while now_ms() <= self.last_due_ms() {
            tokio::time::sleep(LOOK).await;
        }
        let mut looked_at = Instant::now();
        let mut missing = u64::MAX;
        loop {
            tokio::time::sleep(LOOK).await;
            let _ = self.publisher.try_join_next();
            let verdict = self.judge();
            let now = verdict.dropped_without_cause
                + verdict.unanswered
                + u64::from(!self.publisher.is_empty());
            if now != missing {
                (missing, looked_at) = (now, Instant::now());
            }
            let only_answers = now == verdict.unanswered && looked_at.elapsed() > ANSWERED;
            if missing == 0 || only_answers || looked_at.elapsed() > PATIENCE {
                break;
            }
        }
        tokio::time::sleep(LINGER).await;
        self.consumers.shutdown().await;
        self.publisher.shutdown().await;
        self.judge()
    }
}
