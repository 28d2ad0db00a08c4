//! In: what came of a request. Out: what becomes of its message. Pure.

use std::time::Duration;

use dormouse_client::{Retry, Verdict};

/// An endpoint's `Retry-After` counts up to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered with this status, and perhaps said when to come again.
    Answered { status: u16, retry_after: Option<Duration> },
    /// It did not: a name that is not known, a connection, TLS or the time.
    Failed(String),
    /// It is nowhere that a webhook may go.
    Forbidden(String),
    /// Nothing was sent: the host has as many requests as it may, or its breaker is open. Try so much later.
    Busy { pause: Duration, why: &'static str },
}

/// What it says about the endpoint as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It wants no more messages.
    Gone,
    /// Nothing.
    Nothing,
}

impl Outcome {
    /// What it says about the endpoint.
    pub fn about(&self) -> About {
        match self {
            Outcome::Answered { status: 410, .. } => About::Gone,
            Outcome::Answered { status: 429 | 500.., .. } | Outcome::Failed(_) => About::Down,
            Outcome::Answered { .. } => About::Up,
            Outcome::Forbidden(_) | Outcome::Busy { .. } => About::Nothing,
        }
    }

    /// As metrics call it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Answered { status: 200..300, .. } => "delivered",
            Outcome::Answered { status: 410, .. } => "gone",
            Outcome::Answered { .. } => "refused",
            Outcome::Failed(_) => "failed",
            Outcome::Forbidden(_) => "forbidden",
            Outcome::Busy { .. } => "busy",
        }
    }

    /// What becomes of the message after attempt number `attempt`, from 1, of `attempts`.
    pub fn verdict(self, attempt: u32, attempts: u32) -> Verdict {
        let later = |pause: Duration, because: String| match attempt < attempts {
            true => Verdict::retry(Retry::After(pause.min(LONGEST_RETRY_AFTER)), because),
            false => Verdict::dead_letter(format!("{because}, at attempt {attempt}, the last")),
        };
        match self {
            Outcome::Answered { status: 200..300, .. } => Verdict::Done,
            Outcome::Answered { status: 410, .. } => {
                Verdict::dead_letter("the endpoint answered 410: it wants no more messages")
            }
            Outcome::Answered { status: status @ (429 | 502..=504), retry_after: Some(pause) } => {
                later(pause, format!("the endpoint answered {status}, with Retry-After"))
            }
            Outcome::Answered { status: status @ 300..400, .. } => Verdict::retry(
                Retry::ByPolicy,
                format!("the endpoint answered {status}: redirects are not followed"),
            ),
            Outcome::Answered { status, .. } => {
                Verdict::retry(Retry::ByPolicy, format!("the endpoint answered {status}"))
            }
            Outcome::Failed(why) => Verdict::retry(Retry::ByPolicy, why),
            Outcome::Forbidden(why) => Verdict::dead_letter(why),
            Outcome::Busy { pause, why } => Verdict::retry(Retry::PutBack(pause), why),
        }
    }
}

/// Seconds, or a date in the future: <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>.
pub fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPTS: u32 = 8;

    fn answered(status: u16, retry_after: Option<u64>) -> Outcome {
        Outcome::Answered { status, retry_after: retry_after.map(Duration::from_secs) }
    }

    /// `Retry::After` of so many seconds, by policy, dead-lettered, done.
    fn told(outcome: Outcome, attempt: u32) -> String {
        match outcome.verdict(attempt, ATTEMPTS) {
            Verdict::Done => "done".into(),
            Verdict::DeadLetter(_) => "dead".into(),
            Verdict::Retry { when: Retry::After(pause), .. } => format!("{} s", pause.as_secs()),
            Verdict::Retry { when: Retry::PutBack(_), .. } => "put back".into(),
            Verdict::Retry { .. } => "by policy".into(),
        }
    }

    #[test]
    fn each_outcome_has_its_verdict() {
        for status in [200, 201, 204, 299] {
            assert_eq!(told(answered(status, Some(5)), 1), "done");
        }
        for status in [301, 302, 400, 401, 404, 408, 418, 429, 500, 502, 503, 504] {
            assert_eq!(told(answered(status, None), 1), "by policy", "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(told(answered(status, Some(30)), 1), "30 s", "{status}");
            assert_eq!(told(answered(status, Some(30)), ATTEMPTS), "dead", "it ends");
            assert_eq!(told(answered(status, Some(u64::MAX)), 1), "86400 s");
        }
        assert_eq!(told(answered(500, Some(30)), 1), "by policy", "not asked for");
        assert_eq!(told(answered(410, None), 1), "dead");
        assert_eq!(told(Outcome::Forbidden("link-local".into()), 1), "dead");
        assert_eq!(told(Outcome::Failed("reset".into()), 1), "by policy");
        let busy = Outcome::Busy { pause: Duration::from_secs(1), why: "full" };
        assert_eq!(told(busy, ATTEMPTS), "put back", "it was no attempt");
    }

    #[test]
    fn only_what_concerns_all_its_messages_is_about_the_endpoint() {
        for (status, about) in [
            (200, About::Up),
            (400, About::Up),
            (410, About::Gone),
            (429, About::Down),
            (503, About::Down),
        ] {
            assert_eq!(answered(status, None).about(), about, "{status}");
        }
        assert_eq!(Outcome::Failed(String::new()).about(), About::Down);
        assert_eq!(Outcome::Forbidden(String::new()).about(), About::Nothing);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        let date = "Sun, 29 Nov 2026 12:01:00 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sun, 29 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-5", now), None);
    }
}
