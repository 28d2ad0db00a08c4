//! RabbitMQ's part: a quorum queue with a single active consumer, and a stream.

use std::collections::VecDeque;
use std::rc::Rc;

use dormouse_core::control::{Fence, LogMessage};

#[derive(Debug, Clone)]
pub enum Payload {
    /// A client's, by its number.
    Op(usize),
    /// A worker's, by its number.
    Move(usize),
    /// A registrar's worker's, by its number.
    Make(usize),
    Fence(Fence),
}

#[derive(Debug, Clone)]
pub struct Queued {
    pub id: u64,
    pub payload: Payload,
    pub redelivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Waiting,
    /// After `basic.cancel`: holds what it has, and gets no more.
    Leaving,
}

struct Consumer {
    session: u64,
    prefetch: usize,
    standing: Standing,
    unacked: Vec<Queued>,
}

/// Returned messages go out before those that were never delivered, and stand behind what was returned earlier.
#[derive(Default)]
pub struct CommandQueue {
    returned: VecDeque<Queued>,
    ready: VecDeque<Queued>,
    consumers: Vec<Consumer>,
    next_id: u64,
}

impl CommandQueue {
    pub fn publish(&mut self, payload: Payload) {
        let id = self.next_id;
        self.next_id += 1;
        self.ready.push_back(Queued { id, payload, redelivered: false });
    }

    pub fn consume(&mut self, session: u64, prefetch: usize) {
        let standing = Standing::Waiting;
        self.consumers.push(Consumer { session, prefetch, standing, unacked: Vec::new() });
        self.activate();
    }

    pub fn is_empty(&self) -> bool {
        self.returned.is_empty()
            && self.ready.is_empty()
            && self.consumers.iter().all(|consumer| consumer.unacked.is_empty())
    }

    /// Of what was returned meanwhile, nothing happens.
    pub fn ack(&mut self, session: u64, id: u64) {
        if let Some(consumer) = self.consumers.iter_mut().find(|c| c.session == session) {
            consumer.unacked.retain(|queued| queued.id != id);
        }
    }

    /// Its channel is gone: what it held returns, and the next consumer is activated, in one step.
    pub fn down(&mut self, session: u64) {
        let Some(at) = self.consumers.iter().position(|c| c.session == session) else { return };
        let consumer = self.consumers.remove(at);
        self.give_back(consumer.unacked);
        self.activate();
    }

    /// The node of its channel cannot be reached: as [`CommandQueue::down`], but the channel lives, and is
    /// activated again when its turn comes.
    pub fn suspect(&mut self, session: u64) {
        let Some(at) = self.consumers.iter().position(|c| c.session == session) else { return };
        let mut consumer = self.consumers.remove(at);
        self.give_back(std::mem::take(&mut consumer.unacked));
        consumer.standing = Standing::Waiting;
        self.consumers.push(consumer);
        self.activate();
    }

    /// RabbitMQ 3.10: the next one is activated while this one holds messages.
    pub fn basic_cancel(&mut self, session: u64) {
        if let Some(consumer) = self.consumers.iter_mut().find(|c| c.session == session) {
            consumer.standing = Standing::Leaving;
        }
        self.activate();
    }

    pub fn active(&self) -> Option<u64> {
        let active = self.consumers.iter().find(|consumer| consumer.standing == Standing::Active);
        active.map(|consumer| consumer.session)
    }

    /// Takes all that no consumer holds.
    pub fn purge(&mut self) -> Vec<Payload> {
        self.returned.drain(..).chain(self.ready.drain(..)).map(|queued| queued.payload).collect()
    }

    pub fn power_cut(&mut self) {
        for consumer in std::mem::take(&mut self.consumers) {
            self.give_back(consumer.unacked);
        }
    }

    fn give_back(&mut self, unacked: Vec<Queued>) {
        let returned = unacked.into_iter().map(|queued| Queued { redelivered: true, ..queued });
        self.returned.extend(returned);
    }

    fn activate(&mut self) {
        let has_active = self.consumers.iter().any(|c| c.standing == Standing::Active);
        let next = self.consumers.iter_mut().find(|c| c.standing == Standing::Waiting);
        if let (false, Some(next)) = (has_active, next) {
            next.standing = Standing::Active;
        }
    }

    /// What the active consumer has room for.
    pub fn dispatch(&mut self) -> Vec<(u64, Queued)> {
        let mut sent = Vec::new();
        let active = self.consumers.iter_mut().find(|c| c.standing == Standing::Active);
        let Some(consumer) = active else { return sent };
        while consumer.unacked.len() < consumer.prefetch {
            let next = self.returned.pop_front().or_else(|| self.ready.pop_front());
            let Some(queued) = next else { break };
            consumer.unacked.push(queued.clone());
            sent.push((consumer.session, queued));
        }
        sent
    }
}

pub struct Row {
    pub offset: u64,
    pub at: u64,
    pub message: Rc<LogMessage>,
}

#[derive(Default)]
pub struct Log {
    pub rows: VecDeque<Row>,
    next: u64,
}

impl Log {
    /// Through its bytes, as RabbitMQ would have them.
    pub fn append(&mut self, at: u64, message: &LogMessage) {
        let message = Rc::new(LogMessage::decode(&message.encode()).expect("as encoded"));
        self.rows.push_back(Row { offset: self.next, at, message });
        // a stream's offsets have holes
        self.next += 1 + self.next % 7 / 6;
    }

    pub fn from(&self, offset: u64) -> impl Iterator<Item = &Row> {
        self.rows.iter().skip(self.rows.partition_point(|row| row.offset < offset))
    }

    /// A power cut of all replicas: what was not on disk is gone, and its offsets are given again.
    pub fn lose_tail(&mut self, since: u64) -> Vec<Rc<LogMessage>> {
        let mut lost = Vec::new();
        while let Some(row) = self.rows.pop_back_if(|row| row.at >= since) {
            self.next = row.offset;
            lost.push(row.message);
        }
        lost
    }

    /// Retention takes whole segments from the front.
    pub fn lose_head(&mut self, rows: usize) {
        self.rows.drain(..rows.min(self.rows.len()));
    }

    /// An operator deletes the stream, and a worker declares it again.
    pub fn delete(&mut self) {
        self.rows.clear();
        self.next = 0;
    }
}
