//! What RabbitMQ told, for as long as to ask again would be too much: however often somebody looks, and however much others
//! have on the broker, it spends about a twentieth of its time on that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// An answer stands for so many times as long as it took.
const TIMES: u32 = 20;

/// An answer.
#[derive(Debug)]
pub struct Told<T> {
    pub value: T,
    pub at: Instant,
    /// How long the question took.
    took: Duration,
}

impl<T> Told<T> {
    fn stands(&self, now: Instant, longest: Duration) -> bool {
        now.duration_since(self.at) < (self.took * TIMES).min(longest)
    }
}

/// The last answer to a question.
#[derive(Debug)]
pub struct Telling<T> {
    last: Mutex<Option<Arc<Told<T>>>>,
    /// What changes meanwhile shows after this.
    longest: Duration,
}

impl<T> Telling<T> {
    pub fn for_at_most(longest: Duration) -> Self {
        Self { last: Mutex::default(), longest }
    }

    /// The last answer while it stands, else a new one: one asks, the others wait for what it hears. An error is not kept.
    pub async fn ask<E>(
        &self,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<Told<T>>, E> {
        let mut last = self.last.lock().await;
        let begun = Instant::now();
        if let Some(told) = last.as_ref().filter(|told| told.stands(begun, self.longest)) {
            return Ok(told.clone());
        }
        let value = asking.await?;
        let at = Instant::now();
        let told = Arc::new(Told { value, at, took: at.duration_since(begun) });
        *last = Some(told.clone());
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[test]
    fn what_takes_longer_stands_for_longer() {
        let (at, ms, longest) = (Instant::now(), Duration::from_millis, Duration::from_secs(30));
        let stands = |took: u64, after: u64| {
            Told { value: (), at, took: ms(took) }.stands(at + ms(after), longest)
        };
        assert!(stands(100, 0) && stands(100, 1_999) && !stands(100, 2_000));
        assert!(stands(60_000, 29_999) && !stands(60_000, 30_000));
        assert!(!stands(0, 0), "what costs nothing is asked each time");
    }

    #[tokio::test]
    async fn who_comes_meanwhile_hears_the_same_and_a_refusal_is_not_kept() {
        let telling = Telling::for_at_most(Duration::from_secs(30));
        let asked = AtomicU32::new(0);
        let asking = async |answer: Result<u32, &'static str>| {
            sleep(Duration::from_millis(100)).await;
            asked.fetch_add(1, Ordering::SeqCst);
            answer
        };
        assert_eq!(telling.ask(asking(Err("refused"))).await.unwrap_err(), "refused");
        let both = tokio::join!(telling.ask(asking(Ok(1))), telling.ask(asking(Ok(2))));
        assert_eq!((both.0.unwrap().value, both.1.unwrap().value), (1, 1));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
