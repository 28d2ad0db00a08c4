//! What is published again after a channel was lost, and how many at a time: finds the one that
//! RabbitMQ closed it over, and calls nobody else refused. Pure.
//!
//! RabbitMQ handles the publishes of a channel in order, and ignores what comes after the one that it
//! closes the channel over. So of those that were outstanding, the ones before it may have arrived, and
//! the ones behind it have not. Which one it was RabbitMQ does not say: its text names an exchange or a
//! size, never a publish. Therefore each is published alone, from the oldest on, until one closes the
//! channel again: that one is refused. What is behind it goes out as before, few at first, so that many
//! that are refused cost little. No message is published a third time because of another.
//!
//! All that waits here goes out on one channel. New publishes may go on beside it, on another; what is
//! lost there is a group of its own, and no group begins before the one in front of it is settled.

use std::collections::VecDeque;

/// What the end of a channel says about the publishes that were outstanding on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// RabbitMQ closed the channel over one of them.
    Channel,
    /// RabbitMQ closed the connection, which may be over one of them, or a fault of its own.
    Connection,
    /// It was none of them: the network, an operator, a stop.
    Elsewhere,
}

impl Fault {
    /// By AMQP's reply code, 0 for a lost connection. The soft errors close a channel, the hard ones a
    /// connection: <https://www.rabbitmq.com/amqp-0-9-1-reference#constants>.
    pub fn of_code(code: u16) -> Self {
        match code {
            311 | 313 | 403 | 404 | 405 | 406 => Fault::Channel,
            501..=506 | 530 | 540 | 541 => Fault::Connection,
            _ => Fault::Elsewhere,
        }
    }
}

/// A publish that closed so many connections, each time alone, is refused. One could be a stop of
/// the node in which its channels crash.
const CONNECTIONS: u8 = 3;

/// Waits here to be published again, in order.
#[derive(Debug)]
pub struct Again<Item> {
    /// What is outstanding belongs to it.
    first: Group<Item>,
    behind: VecDeque<Group<Item>>,
    /// Connections that the foremost suspect has closed.
    closed_connections: u8,
    /// The most that may be outstanding. It grows by one with each that is settled, as TCP's does.
    window: usize,
    widest: usize,
}

/// What was outstanding together.
#[derive(Debug)]
struct Group<Item> {
    waiting: VecDeque<Item>,
    /// So many at the front are published alone, one after another.
    suspects: usize,
}

impl<Item> Again<Item> {
    /// Up to `widest` outstanding.
    pub fn new(widest: usize) -> Self {
        Self {
            first: Group { waiting: VecDeque::new(), suspects: 0 },
            behind: VecDeque::new(),
            closed_connections: 0,
            window: widest,
            widest,
        }
    }

    /// Whether another may be published while `outstanding` are.
    pub fn has_room(&self, outstanding: usize) -> bool {
        let is_through = self.first.waiting.is_empty() && !self.behind.is_empty();
        let alone = self.first.suspects > 0 || is_through;
        outstanding < if alone { 1 } else { self.window }
    }

    /// The next one to publish, if [`has_room`](Self::has_room) says so.
    pub fn pop(&mut self) -> Option<Item> {
        while self.first.waiting.is_empty() {
            self.first = self.behind.pop_front()?;
        }
        self.first.suspects = self.first.suspects.saturating_sub(1);
        self.first.waiting.pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.groups().map(|group| group.waiting.len()).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn groups(&self) -> impl Iterator<Item = &Group<Item>> {
        [&self.first].into_iter().chain(&self.behind)
    }

    /// So many were settled: none of them can have been at fault.
    pub fn settled(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.closed_connections = 0;
        if self.first.suspects == 0 {
            self.window = self.window.saturating_add(count).min(self.widest);
        }
    }

    /// The channel is lost, and `outstanding` with it, oldest first. Returns the one that is refused, if
    /// it is certain which.
    pub fn lost(&mut self, fault: Fault, mut outstanding: Vec<Item>) -> Option<Item> {
        let alone = outstanding.len() == 1;
        let refused = match fault {
            Fault::Elsewhere => false,
            Fault::Channel => alone,
            Fault::Connection => {
                self.closed_connections += u8::from(alone);
                alone && self.closed_connections >= CONNECTIONS
            }
        };
        if fault != Fault::Elsewhere {
            self.window = 1;
        }
        if refused {
            // what was suspected with it was behind it
            (self.first.suspects, self.closed_connections) = (0, 0);
            return outstanding.pop();
        }
        // one that was published alone is suspected as before
        if fault != Fault::Elsewhere || self.first.suspects > 0 {
            self.first.suspects += outstanding.len();
        }
        outstanding.into_iter().rev().for_each(|item| self.first.waiting.push_front(item));
        None
    }

    /// The same for a channel beside this one, whose publishes did not come from here.
    pub fn lost_beside(&mut self, fault: Fault, mut outstanding: Vec<Item>) -> Option<Item> {
        let suspects = match fault {
            Fault::Elsewhere => 0,
            Fault::Channel if outstanding.len() == 1 => return outstanding.pop(),
            Fault::Channel | Fault::Connection => outstanding.len(),
        };
        self.behind.push_back(Group { waiting: outstanding.into(), suspects });
        None
    }

    /// To be published alone, behind all others.
    pub fn suspect(&mut self, item: Item) {
        self.behind.push_back(Group { waiting: VecDeque::from([item]), suspects: 1 });
    }

    /// Takes out all that waits, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Item> {
        self.first.suspects = 0;
        let behind = self.behind.drain(..).flat_map(|group| group.waiting);
        self.first.waiting.drain(..).chain(behind)
    }

    /// Keeps only what `keep` gives back.
    pub fn retain(&mut self, mut keep: impl FnMut(Item) -> Option<Item>) {
        for Group { waiting, suspects } in [&mut self.first].into_iter().chain(&mut self.behind) {
            let before = *suspects;
            for (place, item) in std::mem::take(waiting).into_iter().enumerate() {
                match keep(item) {
                    Some(item) => waiting.push_back(item),
                    None => *suspects -= usize::from(place < before),
                }
            }
        }
    }
}
