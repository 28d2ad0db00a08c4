//! In: a load, what the publisher recorded, what the consumers recorded. Out: a verdict on every
//! message. Pure.
//!
//! | | |
//! |---|---|
//! | once | arrived where it had to, once, not early, not late, as promised |
//! | lost | confirmed to its publisher, and not arrived |
//! | duplicated | arrived again: counted, and explained by who made it twice |
//! | early | arrived before its due time |
//! | late | arrived more than the bound after its due time, and no fault explains it |
//! | unexpected | arrived where it had not to, or is nobody's |
//! | altered | not as the README's table promises |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use dormouse_core::message::as_text;

use super::contract;
use super::keyed::verdict::KeyVerdict;
use super::load::{Ask, Ends, Load, Order};
use super::posted;
use super::record::{Arrival, Sent, Span};

/// By what a run is judged.
#[derive(Debug, Clone)]
pub struct Terms {
    pub start_ms: u64,
    /// How late a message may be that no fault held up.
    pub bound: Duration,
    /// When faults were in force. What was due then, or was published then, may wait for their end.
    pub faults: Vec<Span>,
    pub dlq: String,
}

/// Messages of each kind, with the first few of what should not be, in words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Messages of the load that were confirmed to the publisher.
    pub confirmed: u64,
    /// Arrivals that had to be: a message with `CC` counts in each queue.
    pub expected: u64,
    pub once: u64,
    pub lost: u64,
    pub early: u64,
    pub late: u64,
    pub unexpected: u64,
    pub altered: u64,
    pub duplicates: Duplicates,
    /// Late by more than the bound, in the shadow of a fault.
    pub held_up: u64,
    /// Lateness of what no fault held up, in ms, sorted.
    pub lateness_ms: Vec<u64>,
    pub findings: Vec<String>,
    /// Messages with a key, which are of no load but of a plan.
    pub keys: KeyVerdict,
}

/// Arrivals beyond the first, by who made them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// The drill's publisher did not know, and published again.
    pub by_publisher: u64,
    /// The target queue delivered again to the drill's consumer, whose ack was lost.
    pub by_consumer: u64,
    /// A worker delivered twice: the same `x-dormouse-id`.
    pub by_delivery: u64,
    /// A worker took it in twice: another `x-dormouse-id`.
    pub by_intake: u64,
}

impl Duplicates {
    pub fn total(&self) -> u64 {
        self.by_publisher + self.by_consumer + self.by_delivery + self.by_intake
    }

    /// Those that a worker made.
    pub fn ours(&self) -> u64 {
        self.by_delivery + self.by_intake
    }
}

impl Verdict {
    /// Nothing that must never be.
    pub fn is_clean(&self) -> bool {
        let faults = self.lost + self.early + self.late + self.unexpected + self.altered;
        faults + self.keys.faults() == 0
    }

    /// Takes in the verdict of another load of the same drill.
    pub fn add(&mut self, other: Verdict) {
        self.confirmed += other.confirmed;
        self.expected += other.expected;
        self.once += other.once;
        self.lost += other.lost;
        self.early += other.early;
        self.late += other.late;
        self.unexpected += other.unexpected;
        self.altered += other.altered;
        self.held_up += other.held_up;
        self.duplicates.by_publisher += other.duplicates.by_publisher;
        self.duplicates.by_consumer += other.duplicates.by_consumer;
        self.duplicates.by_delivery += other.duplicates.by_delivery;
        self.duplicates.by_intake += other.duplicates.by_intake;
        self.lateness_ms.extend(other.lateness_ms);
        self.lateness_ms.sort_unstable();
        self.findings.extend(other.findings);
        self.keys.add(other.keys);
    }

    /// The lateness that this share (0 to 1) of the messages does not exceed, in ms.
    pub fn lateness_ms(&self, share: f64) -> u64 {
        let last = self.lateness_ms.len().saturating_sub(1);
        self.lateness_ms.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
    }
}

/// So many findings are kept in words.
const FINDINGS: usize = 20;

/// Judges a run.
pub fn check(load: &Load, sent: &HashMap<u32, Sent>, seen: &[Arrival], terms: &Terms) -> Verdict {
    let mut judge = Judge { load, sent, terms, verdict: Verdict::default() };
    let mut arrivals: BTreeMap<(u32, String), Vec<&Arrival>> = BTreeMap::new();
    for arrival in seen {
        match load.number(&arrival.message) {
            Some(number) => {
                arrivals.entry((number, arrival.queue.clone())).or_default().push(arrival)
            }
            None => judge.unexpected(&format!("a message of nobody's, in {}", arrival.queue)),
        }
    }
    for order in &load.orders {
        judge.order(order, &mut arrivals);
    }
    for ((number, queue), arrivals) in arrivals {
        for _ in arrivals {
            judge.unexpected(&format!("message {number} in {queue}"));
        }
    }
    judge.verdict.lateness_ms.sort_unstable();
    judge.verdict
}

struct Judge<'a> {
    load: &'a Load,
    sent: &'a HashMap<u32, Sent>,
    terms: &'a Terms,
    verdict: Verdict,
}

impl Judge<'_> {
    /// Takes what the order explains out of `arrivals`.
    fn order(&mut self, order: &Order, arrivals: &mut BTreeMap<(u32, String), Vec<&Arrival>>) {
        let Some(sent) = self.sent.get(&order.number).copied() else { return };
        self.verdict.confirmed += u64::from(sent.confirmed_ms.is_some());
        for queue in order.ends.queues(&self.terms.dlq) {
            let mut came = arrivals.remove(&(order.number, queue.to_owned())).unwrap_or_default();
            // what was never confirmed may have arrived, and then has to be right
            self.verdict.expected += u64::from(sent.confirmed_ms.is_some() || !came.is_empty());
            came.sort_by_key(|arrival| arrival.at_ms);
            if sent.denied && sent.confirmed_ms.is_none() && !came.is_empty() {
                self.unexpected(&format!("message {} in {queue}, which was refused", order.number));
            }
            let Some(first) = came.first() else {
                if sent.confirmed_ms.is_some() {
                    self.verdict.lost += 1;
                    self.find(format!(
                        "lost: message {} for {queue} ({:?})",
                        order.number, order.ask
                    ));
                }
                continue;
            };
            let clean = match order.ends {
                Ends::In(_) | Ends::Posted(_) => {
                    let on_time = self.on_time(order, sent, first);
                    // each is judged, also after one that is not clean
                    let unclean = came.iter().filter(|arrival| !self.arrival(order, sent, arrival));
                    let unclean = unclean.count();
                    on_time && unclean == 0
                }
                Ends::Dead(reason) => self.dead(order, &[reason], first),
                Ends::Copied { reasons, at_most } => {
                    let at_most = at_most.saturating_mul(sent.times) as usize;
                    let clean = self.copies(order, reasons, at_most, &came);
                    self.verdict.once += u64::from(clean);
                    continue;
                }
            };
            self.duplicates(sent, &came);
            self.verdict.once += u64::from(clean && came.len() == 1);
        }
    }

    /// Whether it is neither early nor altered.
    fn arrival(&mut self, order: &Order, sent: Sent, arrival: &Arrival) -> bool {
        let number = order.number;
        let published = order.published(self.terms.start_ms);
        let due_ms = arrival.due_ms().unwrap_or_default();
        let mut faults = match order.ends {
            // an endpoint sees no stamp
            Ends::Posted(_) => posted::violations(&published, &arrival.message, arrival.at_ms),
            _ => contract::violations(&published, &arrival.message),
        };
        if let (Ask::At(offset), Ends::In(_)) = (&order.ask, &order.ends) {
            let asked_ms = self.terms.start_ms + offset.as_millis() as u64;
            // a moment that had passed when a worker took it in is due at once
            if due_ms != asked_ms && !(asked_ms..=arrival.at_ms).contains(&due_ms) {
                faults.push(format!("asked for {asked_ms}, and its stamp says {due_ms}"));
            }
        }
        for fault in &faults {
            self.find(format!("altered: message {number}: {fault}"));
        }
        self.verdict.altered += u64::from(!faults.is_empty());
        let earliest_ms = self.earliest_ms(order, sent).max(due_ms);
        let early = arrival.at_ms < earliest_ms;
        if early {
            self.verdict.early += 1;
            let by_ms = earliest_ms - arrival.at_ms;
            self.find(format!("early: message {number}, by {by_ms} ms ({:?})", order.ask));
        }
        faults.is_empty() && !early
    }

    /// The first moment at which it may arrive: a relative delay counts from its publish at the soonest.
    fn earliest_ms(&self, order: &Order, sent: Sent) -> u64 {
        match &order.ask {
            Ask::At(offset) => self.terms.start_ms + offset.as_millis() as u64,
            relative => sent.first_ms + relative.delay().unwrap_or_default().as_millis() as u64,
        }
    }

    fn on_time(&mut self, order: &Order, sent: Sent, first: &Arrival) -> bool {
        let taken_ms = sent.confirmed_ms.unwrap_or(sent.first_ms);
        let bound_ms = self.terms.bound.as_millis() as u64;
        // without a fault: due when asked for, but not before it was there
        let due_ms = match &order.ask {
            Ask::At(_) => self.earliest_ms(order, sent).max(taken_ms),
            relative => taken_ms + relative.delay().unwrap_or_default().as_millis() as u64,
        };
        // with faults: taken in after them, and delivered after them
        let taken_after_ms = self.after_faults(taken_ms, &first.queue);
        let due_after_ms = match &order.ask {
            Ask::At(_) => self.earliest_ms(order, sent).max(taken_after_ms),
            relative => taken_after_ms + relative.delay().unwrap_or_default().as_millis() as u64,
        };
        let excused_ms = self.after_faults(due_after_ms, &first.queue);
        let late_ms = first.at_ms.saturating_sub(due_ms);
        if first.at_ms > excused_ms + bound_ms {
            self.verdict.late += 1;
            let number = order.number;
            self.find(format!(
                "late: message {number}, by {late_ms} ms, {} ms more than faults explain ({:?}, taken {} ms after the start, due {} ms)",
                first.at_ms - excused_ms,
                order.ask,
                taken_ms as i64 - self.terms.start_ms as i64,
                due_ms as i64 - self.terms.start_ms as i64,
            ));
            return false;
        }
        if excused_ms == due_ms {
            self.verdict.lateness_ms.push(late_ms);
        } else {
            self.verdict.held_up += u64::from(late_ms > bound_ms);
        }
        true
    }

    /// The end of the fault that was in force, or about to be, at this moment; else the moment.
    fn after_faults(&self, moment_ms: u64, queue: &str) -> u64 {
        let mut moment_ms = moment_ms;
        let bound_ms = self.terms.bound.as_millis() as u64;
        let concerns = |fault: &&Span| fault.queue.as_deref().is_none_or(|only| only == queue);
        let mut faults: Vec<_> = self.terms.faults.iter().filter(concerns).collect();
        faults.sort_by_key(|fault| fault.from_ms);
        for fault in faults {
            // what was due just before was still on its way
            if (fault.from_ms.saturating_sub(bound_ms)..=fault.to_ms).contains(&moment_ms) {
                moment_ms = fault.to_ms;
            }
        }
        moment_ms
    }

    fn dead(&mut self, order: &Order, reasons: &[&str], arrival: &Arrival) -> bool {
        let told = arrival.message.properties.headers.get("x-dormouse-reason").and_then(as_text);
        let whole = arrival.message.body == order.message.body;
        if !told.is_some_and(|told| reasons.contains(&told)) || !whole {
            self.verdict.altered += 1;
            self.find(format!(
                "altered: message {} in the DLQ: reason {told:?} instead of {}, body whole: {whole}",
                order.number,
                reasons.join(" or ")
            ));
            return false;
        }
        true
    }

    /// Each is judged, and those above what its target may have made of it are nobody's.
    fn copies(
        &mut self,
        order: &Order,
        reasons: &[&str],
        at_most: usize,
        came: &[&Arrival],
    ) -> bool {
        let altered = came.iter().filter(|arrival| !self.dead(order, reasons, arrival)).count();
        for _ in came.iter().skip(at_most) {
            self.unexpected(&format!("one copy more of message {}", order.number));
        }
        altered == 0 && came.len() <= at_most
    }

    fn duplicates(&mut self, sent: Sent, came: &[&Arrival]) {
        let mut ids = HashSet::new();
        let mut publishes = 1;
        for (index, arrival) in came.iter().enumerate() {
            let id = arrival.message.properties.headers.get("x-dormouse-id").and_then(as_text);
            let new = ids.insert(id.unwrap_or_default());
            if index == 0 {
                continue;
            }
            let duplicates = &mut self.verdict.duplicates;
            if !new && arrival.redelivered {
                duplicates.by_consumer += 1;
            } else if !new {
                duplicates.by_delivery += 1;
            } else if publishes < sent.times {
                publishes += 1;
                duplicates.by_publisher += 1;
            } else {
                duplicates.by_intake += 1;
            }
        }
    }

    fn unexpected(&mut self, what: &str) {
        self.verdict.unexpected += 1;
        self.find(format!("unexpected: {what} (seed {})", self.load.seed));
    }

    fn find(&mut self, finding: String) {
        if self.verdict.findings.len() < FINDINGS {
            self.verdict.findings.push(finding);
        }
    }
}
