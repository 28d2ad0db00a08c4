//! Who waits for the answer to a command, by the correlation id that comes back with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dormouse_core::control::Reply;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::Unanswered;
use crate::message::{Message, ShortString};

/// Shared by those who wait and the task that publishes for them.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<HashMap<String, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Bytes>,
    /// Another answer follows the one that came: a run-now has begun to look.
    has_begun: Arc<AtomicBool>,
    /// What is not will be published again, and answered then.
    is_confirmed: bool,
}

/// An answer to come. Dropped, it is waited for no more.
#[derive(Debug)]
pub struct Answer {
    id: String,
    comes: oneshot::Receiver<Bytes>,
    has_begun: Arc<AtomicBool>,
    answers: Answers,
}

impl Answers {
    /// For a command that is about to be published with this one's id.
    pub fn expect(&self) -> Answer {
        let id = Uuid::now_v7().to_string();
        let (answer, comes) = oneshot::channel();
        let has_begun = Arc::new(AtomicBool::new(false));
        let waiting = Waiting { answer, has_begun: has_begun.clone(), is_confirmed: false };
        self.waiting().insert(id.clone(), waiting);
        Answer { id, comes, has_begun, answers: self.clone() }
    }

    /// RabbitMQ has confirmed the command: it is not published again.
    pub fn confirmed(&self, id: &ShortString) {
        if let Some(waiting) = self.waiting().get_mut(id.as_str()) {
            waiting.is_confirmed = true;
        }
    }

    /// A message came to the reply address. One that nobody waits for, such as a second answer, is passed over, and
    /// so is one that another follows.
    pub fn came(&self, message: Message) {
        let Message { properties, body, .. } = message;
        let Some(id) = properties.correlation_id else { return };
        let is_first = Reply::decode(&body).is_ok_and(|reply| reply.is_first());
        let mut all = self.waiting();
        if is_first && let Some(waiting) = all.get(id.as_str()) {
            waiting.has_begun.store(true, Ordering::Relaxed);
        } else if let Some(waiting) = all.remove(id.as_str()) {
            // who stopped waiting is not told
            let _ = waiting.answer.send(body);
        }
    }

    /// The reply address is gone: what is confirmed is never answered.
    pub fn lost(&self) {
        self.waiting().retain(|_, waiting| !waiting.is_confirmed);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().expect("no panic while an answer is noted")
    }
}

impl Answer {
    /// The correlation id for the command.
    pub fn id(&self) -> ShortString {
        self.id.as_str().into()
    }

    /// Waits for it. Cancel safe. None if it never comes.
    pub async fn comes(&mut self) -> Option<Bytes> {
        (&mut self.comes).await.ok()
    }

    /// Whether a first answer came, which said that another follows.
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// The same, no longer than `within`.
    pub async fn comes_within(&mut self, within: Duration) -> Result<Bytes, Unanswered> {
        match tokio::time::timeout(within, self.comes()).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(Unanswered::Lost),
            Err(_) => Err(Unanswered::Silent { within }),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answers.waiting().remove(&self.id);
    }
}
