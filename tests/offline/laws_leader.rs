//! Laws of leadership, in a simulated queue with single active consumer: whoever is killed, frozen or taken for dead,
//! tokens grow with each leadership, and somebody leads in the end.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use dormouse::schedule::UnixMs;
use dormouse_client::{Act, Arrival, Ballot, Deposed, Election};
use fastrand::Rng;

/// What a candidate must not do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mutant {
    None,
    /// It does not wait until its claim has come back.
    LeadsOnceItHasClaimed,
    /// It acks whatever comes.
    HoldsNothing,
}

#[derive(Debug, Clone)]
struct Queued {
    ballot: Ballot,
    redelivered: bool,
}

/// RabbitMQ's side of one consumer.
struct Consumer {
    candidate: usize,
    unacked: BTreeMap<u64, Queued>,
    next_tag: u64,
    /// Published and acked, on the way to the queue.
    sent: VecDeque<Sent>,
    /// Which of the queue's activations this is the active one by.
    activation: Option<u64>,
}

enum Sent {
    Publish(Ballot),
    Ack(u64),
}

/// A process, which may not know yet that its connection is gone.
struct Candidate {
    election: Election,
    /// With the activation that each was delivered in.
    inbox: VecDeque<(Arrival, u64)>,
    leads: Option<u64>,
    is_deposed: bool,
}

struct World {
    rng: Rng,
    mutant: Mutant,
    returned: VecDeque<Queued>,
    ready: VecDeque<Queued>,
    /// The first is the active one; each of a session.
    consumers: Vec<Consumer>,
    candidates: Vec<Candidate>,
    sessions: u64,
    clock_ms: u64,
    activations: u64,
    /// Each activation in which a claim came back, and its token.
    led: Vec<(u64, u64)>,
}

/// A fault of the design.
#[derive(Debug)]
struct Violation(#[expect(dead_code, reason = "for who reads it")] String);

impl World {
    fn new(seed: u64, candidates: usize, mutant: Mutant) -> Self {
        let mut world = Self {
            rng: Rng::with_seed(seed),
            mutant,
            returned: <_>::default(),
            ready: <_>::default(),
            consumers: Vec::new(),
            candidates: Vec::new(),
            sessions: 0,
            clock_ms: 1_000,
            activations: 0,
            led: Vec::new(),
        };
        for candidate in 0..candidates {
            let election = Election::new(String::new());
            let inbox = VecDeque::new();
            world.candidates.push(Candidate { election, inbox, leads: None, is_deposed: true });
            world.begin(candidate);
        }
        world
    }

    /// A new session; what the old one had is gone with its connection.
    fn begin(&mut self, candidate: usize) {
        self.disconnect(candidate, 0);
        self.sessions += 1;
        let election = Election::new(self.sessions.to_string());
        let sent = VecDeque::from([Sent::Publish(election.candidacy())]);
        let inbox = VecDeque::new();
        self.candidates[candidate] = Candidate { election, inbox, leads: None, is_deposed: false };
        let unacked = BTreeMap::new();
        self.consumers.push(Consumer { candidate, unacked, next_tag: 0, sent, activation: None });
    }

    /// `arrives` of what was on its way is applied still.
    fn disconnect(&mut self, candidate: usize, arrives: usize) {
        let Some(at) = self.consumers.iter().position(|one| one.candidate == candidate) else {
            return;
        };
        (0..arrives).for_each(|_| self.apply(at));
        let consumer = self.consumers.remove(at);
        self.give_back(consumer.unacked);
    }

    fn give_back(&mut self, unacked: BTreeMap<u64, Queued>) {
        let again = unacked.into_values().map(|queued| Queued { redelivered: true, ..queued });
        self.returned.extend(again);
    }

    /// The queue takes the next thing that a consumer's process has sent.
    fn apply(&mut self, at: usize) {
        match self.consumers[at].sent.pop_front() {
            Some(Sent::Publish(ballot)) => {
                self.ready.push_back(Queued { ballot, redelivered: false });
            }
            // of what was taken from it, nothing is known any more
            Some(Sent::Ack(tag)) => drop(self.consumers[at].unacked.remove(&tag)),
            None => {}
        }
    }

    fn deliver(&mut self) {
        let Some(active) = self.consumers.first_mut() else { return };
        if active.unacked.len() >= 16 {
            return;
        }
        let Some(queued) = self.returned.pop_front().or_else(|| self.ready.pop_front()) else {
            return;
        };
        let activation = *active.activation.get_or_insert_with(|| {
            self.activations += 1;
            self.activations
        });
        active.next_tag += 1;
        let (tag, redelivered) = (active.next_tag, queued.redelivered);
        let ballot = Some(queued.ballot.clone());
        active.unacked.insert(tag, queued);
        self.candidates[active.candidate]
            .inbox
            .push_back((Arrival { tag, redelivered, ballot }, activation));
    }

    /// The process does the next thing that it knows of.
    fn step(&mut self, candidate: usize) -> Result<(), Violation> {
        let one = &mut self.candidates[candidate];
        let Some((arrival, activation)) = one.inbox.pop_front() else { return Ok(()) };
        let tag = arrival.tag;
        let now = UnixMs(self.clock_ms);
        let acts = match one.election.arrived(arrival, now) {
            Ok(acts) => acts,
            Err(Deposed) => {
                one.is_deposed = true;
                one.leads = None;
                return Ok(());
            }
        };
        let mut sent = Vec::new();
        for act in acts {
            match act {
                Act::Publish(ballot) => {
                    if self.mutant == Mutant::LeadsOnceItHasClaimed {
                        self.lead(candidate, activation, ballot.token)?;
                    }
                    sent.push(Sent::Publish(ballot));
                }
                Act::Ack(tag) => sent.push(Sent::Ack(tag)),
                Act::Lead(_) if self.mutant == Mutant::LeadsOnceItHasClaimed => {}
                Act::Lead(token) => self.lead(candidate, activation, token)?,
                Act::Proven => {}
            }
        }
        if self.mutant == Mutant::HoldsNothing {
            sent.push(Sent::Ack(tag));
        }
        if let Some(own) = self.consumers.iter_mut().find(|one| one.candidate == candidate) {
            own.sent.extend(sent);
        }
        Ok(())
    }

    /// Tokens are in the order of the activations in which their claims came back, however late a process looks at what
    /// it was delivered: who believes to lead by an old one has a smaller token than who leads.
    fn lead(&mut self, candidate: usize, activation: u64, token: u64) -> Result<(), Violation> {
        let in_order = |led: &(u64, u64)| match led.0.cmp(&activation) {
            Ordering::Less => led.1 < token,
            Ordering::Equal => false,
            Ordering::Greater => led.1 > token,
        };
        if let Some(other) = self.led.iter().find(|led| !in_order(led)) {
            let this = (activation, token);
            return Err(Violation(format!("{candidate} leads with {this:?} beside {other:?}")));
        }
        self.led.push((activation, token));
        self.candidates[candidate].leads = Some(token);
        Ok(())
    }

    fn prove(&mut self, candidate: usize) {
        let proof = self.candidates[candidate].election.proof();
        let own = self.consumers.iter_mut().find(|one| one.candidate == candidate);
        if let (Some(own), Some(proof)) = (own, proof) {
            own.sent.push_back(Sent::Publish(proof));
        }
    }

    fn any(&mut self) -> usize {
        self.rng.usize(0..self.candidates.len())
    }

    fn random_step(&mut self) -> Result<(), Violation> {
        let candidate = self.any();
        match self.rng.u32(0..100) {
            0..30 => self.deliver(),
            30..60 => self.step(candidate)?,
            60..85 if !self.consumers.is_empty() => {
                let at = self.rng.usize(0..self.consumers.len());
                self.apply(at);
            }
            85..88 => self.prove(candidate),
            // the connection is gone, and the process goes on with what it has got
            88..92 => {
                let arrives = self.rng.usize(0..4);
                self.disconnect(candidate, arrives);
            }
            92..96 => self.begin(candidate),
            // a node is taken for dead: its consumer is the last in line then, and keeps its channel
            96..98 if !self.consumers.is_empty() => {
                let mut suspected = self.consumers.remove(0);
                self.give_back(std::mem::take(&mut suspected.unacked));
                suspected.activation = None;
                self.consumers.push(suspected);
            }
            98 => self.clock_ms += self.rng.u64(0..5_000),
            99 => self.clock_ms = self.clock_ms.saturating_sub(self.rng.u64(0..5_000)),
            _ => {}
        }
        Ok(())
    }

    /// No more faults: whoever knows that its session is over begins another.
    fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..60 {
            for candidate in 0..self.candidates.len() {
                let is_connected = self.consumers.iter().any(|one| one.candidate == candidate);
                if self.candidates[candidate].is_deposed || !is_connected {
                    self.begin(candidate);
                }
                for _ in 0..20 {
                    self.deliver();
                    self.step(candidate)?;
                    (0..self.consumers.len()).for_each(|at| self.apply(at));
                }
            }
        }
        let active = self.consumers.first().map(|first| first.candidate);
        let leads = active.and_then(|active| self.candidates[active].leads);
        match leads {
            Some(token) if self.led.iter().all(|(_, other)| *other <= token) => Ok(()),
            other => Err(Violation(format!("in the end {other:?} leads, of {:?}", self.led))),
        }
    }
}

fn run(seed: u64, mutant: Mutant) -> Result<usize, Violation> {
    let mut world = World::new(seed, 1 + (seed as usize % 4), mutant);
    for _ in 0..400 {
        world.random_step()?;
    }
    world.settle()?;
    Ok(world.led.len())
}

#[test]
fn tokens_grow_with_each_leadership_and_somebody_leads_in_the_end() {
    let leaderships: usize = (0..1_000)
        .map(|seed| {
            run(seed, Mutant::None).unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"))
        })
        .sum();
    assert!(leaderships > 2_000, "{leaderships}: the world is too quiet to show anything");
}

#[test]
fn candidates_that_do_less_are_caught() {
    for mutant in [Mutant::LeadsOnceItHasClaimed, Mutant::HoldsNothing] {
        let caught = (0..1_000).filter(|seed| run(*seed, mutant).is_err()).count();
        assert!(caught > 0, "{mutant:?} passes");
    }
}

/// What strangers publish to the queue ends no leadership, and a ballot reads as it was written.
#[test]
fn ballots_read_as_they_were_written_and_others_are_passed_over() {
    let ballot = Ballot { session: "a session".into(), token: 7 };
    let message = ballot.message("queue");
    assert_eq!(Ballot::read(&message), Some(ballot.clone()));
    assert_eq!(Ballot::read(&dormouse::message::Message::default()), None);
    let too_high = Ballot { token: u64::MAX, ..ballot };
    assert_eq!(Ballot::read(&too_high.message("queue")), None);
    let mut election = Election::new("mine".into());
    let strange = |tag| Arrival { tag, redelivered: false, ballot: None };
    let acts = election.arrived(strange(1), UnixMs(41)).unwrap();
    let claim = Ballot { session: "mine".into(), token: 42 };
    assert_eq!(acts, [Act::Ack(1), Act::Publish(claim.clone())]);
    let back = Arrival { tag: 2, redelivered: false, ballot: Some(claim) };
    assert_eq!(election.arrived(back, UnixMs(0)), Ok(vec![Act::Lead(42)]));
    assert_eq!(election.arrived(strange(3), UnixMs(0)), Ok(vec![Act::Ack(3)]));
}
