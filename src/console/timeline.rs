//! The life of a message, from top to bottom: what happened, what it sleeps through by its plan, and when it comes. In: what
//! the index tells of it. Out: a list. Pure.

use std::time::Duration;

use maud::{Markup, html};
use serde_json::Value as Json;

use super::words;
use crate::schedule::UnixMs;

/// A point of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub at: UnixMs,
    pub until: Option<UnixMs>,
    pub words: String,
    pub detail: Option<String>,
    pub when: When,
}

/// Of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Past,
    /// It is there, by its plan.
    Now,
    Future,
}

/// In the order of time.
pub fn steps(message: &Json, now: UnixMs) -> Vec<Step> {
    let mut steps: Vec<Step> = list(&message["history"]).filter_map(happened).collect();
    let state = message["state"].as_str().unwrap_or_default();
    let is_to_come =
        matches!(state, "scheduled" | "retrying" | "overdue" | "cancelled" | "replaced");
    if !is_to_come {
        return steps;
    }
    let mut left_levels = None;
    for stay in list(&message["way"]) {
        let time = |name: &str| stay[name].as_u64().map(UnixMs);
        let (Some(since), Some(until)) = (time("since_ms"), time("until_ms")) else { continue };
        let queue = stay["queue"].as_str().unwrap_or_default();
        left_levels = Some(until);
        steps.push(Step {
            at: since,
            until: Some(until),
            words: format!("{} in {}", words::about(until.since(since)), level(queue)),
            detail: Some(queue.to_owned()),
            when: when(since, until, now),
        });
    }
    let comes = message["comes_ms"].as_u64().filter(|at| *at > 0).map(UnixMs);
    if let Some(comes) = comes {
        let is_held = message["place"]["in"] == "hold";
        if let Some(since) = left_levels.filter(|since| *since < comes) {
            steps.push(Step {
                at: since,
                until: Some(comes),
                words: format!("{} in a worker’s hold", words::about(comes.since(since))),
                detail: None,
                when: if is_held && comes > now { When::Now } else { when(since, comes, now) },
            });
        }
        let words = match state {
            "cancelled" => "it wakes, and is dropped: its key was cancelled",
            "replaced" => "it wakes, and is dropped: another has its key",
            "overdue" => "it was due, and nothing was heard of it",
            _ => "due",
        };
        let when = if comes <= now { When::Past } else { When::Future };
        steps.push(Step { at: comes, until: None, words: words.into(), detail: None, when });
    }
    steps
}

fn list(of: &Json) -> impl Iterator<Item = &Json> {
    of.as_array().into_iter().flatten()
}

fn when(since: UnixMs, until: UnixMs, now: UnixMs) -> When {
    if until <= now {
        When::Past
    } else if since <= now {
        When::Now
    } else {
        When::Future
    }
}

/// `dormouse.v1.level.02.002.2h8m` is level 2.
fn level(queue: &str) -> String {
    let mut parts = queue.rsplit('.').skip(2);
    let number = parts.next().and_then(|level| level.parse::<u32>().ok());
    number.map_or_else(|| queue.to_owned(), |number| format!("level {number}"))
}

fn happened(noted: &Json) -> Option<Step> {
    let at = UnixMs(noted["at_ms"].as_u64()?);
    let event = noted["event"].as_str()?;
    let wake = noted["wake_ms"].as_u64().map(UnixMs);
    let attempt = noted["attempt"].as_u64();
    let nth = attempt.map_or_else(String::new, |attempt| format!(" at attempt {attempt}"));
    let words = match event {
        // only what goes back to its consumer's queue has a reason
        "scheduled" if noted["detail"].is_string() => {
            "given back by its consumer, and put to sleep until another try".into()
        }
        "scheduled" => "accepted, and put to sleep".into(),
        "failed" => format!("failed{nth}, and put to sleep again"),
        "rescheduled" => "put to sleep for another time".into(),
        "delivered" => format!("delivered{nth}: its target has confirmed it"),
        "dead" => format!("given up{nth}: the DLQ has it"),
        "dropped" => "dropped when it woke".into(),
        "key-cancelled" => "its key was cancelled".into(),
        "key-rescheduled" => "put off by its key".into(),
        "replaced" => "another was scheduled with its key".into(),
        "found" => "found asleep by a census".into(),
        "gone" => "not found by a census".into(),
        other => other.to_owned(),
    };
    let late = wake.filter(|_| event == "delivered").map(|wake| lateness(at, wake));
    let next = wake
        .filter(|_| event != "delivered")
        .map(|wake| format!("to come {}", words::absolute(wake)));
    let detail = noted["detail"].as_str().map(words::visible);
    let detail: Vec<_> = [detail, late, next].into_iter().flatten().collect();
    let detail = (!detail.is_empty()).then(|| detail.join(" · "));
    Some(Step { at, until: None, words, detail, when: When::Past })
}

fn lateness(at: UnixMs, wake: UnixMs) -> String {
    if at < wake {
        format!("{} EARLY", words::about(wake.since(at)))
    } else {
        format!("{} after it was due", words::about(at.since(wake)))
    }
}

/// As a list.
pub fn timeline(message: &Json, now: UnixMs) -> Markup {
    let steps = steps(message, now);
    html! {
        @if steps.is_empty() { p.quiet { "Nothing is noted of it." } }
        @else {
            ol.life {
                @for step in &steps {
                    @let (class, said) = match step.when { When::Past => ("past", ""), When::Now => ("now", "now, by its plan"), When::Future => ("future", "") };
                    li class=(class) aria-current=[(step.when == When::Now).then_some("step")] {
                        time datetime=(step.at.to_string()) title=(words::relative(step.at, now)) { (words::exact(step.at)) }
                        p { (step.words) @if !said.is_empty() { " " span.state.calm { (said) } } }
                        @if let Some(detail) = &step.detail { p.quiet.mono[step.until.is_some()] { (detail) } }
                        @if step.when == When::Now { @if let Some(until) = step.until { (progress(step.at, until, now)) } }
                    }
                }
            }
        }
    }
}

fn progress(since: UnixMs, until: UnixMs, now: UnixMs) -> Markup {
    let (all, gone) = (until.since(since), now.since(since));
    let left = until.since(now).max(Duration::ZERO);
    html! {
        div.progress { (words::share(gone.as_millis() as u64, all.as_millis() as u64)) span { (words::about(left)) " left" } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(state: &str) -> Json {
        json!({
            "state": state, "comes_ms": 10_000, "place": { "in": "level" },
            "history": [{ "at_ms": 1_000, "event": "scheduled", "wake_ms": 10_000 }],
            "way": [
                { "queue": "d.v1.level.02.002.2h8m", "since_ms": 1_000, "until_ms": 5_000 },
                { "queue": "d.v1.level.00.003.3s", "since_ms": 5_000, "until_ms": 8_000 },
            ],
        })
    }

    #[test]
    fn a_life_is_told_in_the_order_of_time() {
        let told = |message: &Json, now: u64| {
            let steps = steps(message, UnixMs(now));
            assert!(steps.is_sorted_by_key(|step| step.at), "{steps:?}");
            steps.into_iter().map(|step| (step.words, step.when)).collect::<Vec<_>>()
        };
        let words = |text: &str, when| (text.to_owned(), when);
        assert_eq!(
            told(&message("scheduled"), 6_000),
            [
                words("accepted, and put to sleep", When::Past),
                words("4 s in level 2", When::Past),
                words("3 s in level 0", When::Now),
                words("2 s in a worker’s hold", When::Future),
                words("due", When::Future),
            ]
        );
        assert_eq!(told(&message("scheduled"), 9_000)[3].1, When::Now);
        assert_eq!(told(&message("delivered"), 20_000).len(), 1, "its way is past");
        assert!(told(&message("cancelled"), 6_000)[4].0.contains("dropped"));
        assert!(steps(&json!({}), UnixMs(1)).is_empty());
    }

    #[test]
    fn what_came_early_is_called_so() {
        let delivered =
            |at: u64| json!({ "at_ms": at, "event": "delivered", "wake_ms": 5_000, "attempt": 1 });
        assert_eq!(happened(&delivered(5_007)).unwrap().detail.unwrap(), "7 ms after it was due");
        assert_eq!(happened(&delivered(4_999)).unwrap().detail.unwrap(), "1 ms EARLY");
    }
}
