//! What the index knows of the future.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::api::Index;
use crate::api::problem::Problem;
use crate::api::question::Question;
use crate::schedule::UnixMs;

/// For so long everybody sees the same.
pub const FRESH: Duration = Duration::from_secs(5);
/// The table of minutes has an entry for each: beyond this the one of hours is asked.
const MINUTES: Duration = Duration::from_secs(5 * 86_400);
/// Shorter steps are counted, message by message.
const COUNTED: Duration = Duration::from_secs(3_600);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
/// A load has no more steps.
const MOST_HOURS: u64 = 10_000;

/// What is to come.
#[derive(Debug, Clone)]
pub struct Known {
    pub taken: Instant,
    /// Of each step.
    pub exact: Vec<u64>,
    pub next_minute: u64,
    pub messages: u64,
    /// Those that were due more than a minute ago.
    pub overdue: u64,
    /// The targets with most of them.
    pub targets: Vec<(Option<(String, String)>, u64)>,
    pub complete: bool,
    pub lag_ms: Option<u64>,
    pub gaps: usize,
    /// Of what came last; none if nothing has come.
    pub late: Option<Late>,
}

/// How late what was delivered last came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// 99 of 100 came within.
    pub p99: Duration,
    /// Came before they were due, which is never to be.
    pub early: u64,
}

/// Asks.
///
/// Errors: what the index says.
pub async fn ask(index: &Index, edges: &[Duration], now: UnixMs) -> Result<Known, Problem> {
    let ends = aligned(edges, now);
    let all = count(index, None, None).await?;
    let minute = count(index, None, Some(now.plus(Duration::from_secs(60)))).await?;
    let mut exact = Vec::new();
    let counted = edges.windows(2).take_while(|step| step[1] <= COUNTED).count();
    for at in 0..counted {
        let after = (at > 0).then(|| ends[at]);
        exact.push(messages(&count(index, after, Some(ends[at + 1])).await?));
    }
    let last = ends.last().copied().unwrap_or(now);
    let most = UnixMs(now.0 + MOST_HOURS * HOUR_MS);
    let hours = load(index, "hour", now, last.min(most)).await?;
    let minutes_end = ends.iter().zip(edges).find(|(_, edge)| **edge > MINUTES);
    let minutes_end = minutes_end.map_or(last, |(end, _)| *end);
    let minutes = match ends.get(counted) {
        Some(from) if *from < minutes_end => load(index, "minute", *from, minutes_end).await?,
        _ => Json::Null,
    };
    let late = late(&index(Question::Lateness).await?["all"]);
    exact.resize(edges.len() - 1, 0);
    let early = steps(&minutes).filter(|(at, _)| *at < minutes_end);
    let later = steps(&hours).filter(|(at, _)| *at >= minutes_end);
    for (at, messages) in early.chain(later) {
        let bin = ends.partition_point(|end| *end <= at).saturating_sub(1);
        if (counted..exact.len()).contains(&bin) {
            exact[bin] += messages;
        }
    }
    Ok(Known {
        taken: Instant::now(),
        exact,
        next_minute: messages(&minute),
        messages: messages(&all),
        overdue: all["states"]["overdue"].as_u64().unwrap_or(0),
        targets: targets(&hours),
        complete: all["complete"].as_bool().unwrap_or(false),
        lag_ms: all["lag_ms"].as_u64(),
        gaps: all["gaps"].as_array().map_or(0, Vec::len),
        late,
    })
}

fn late(all: &Json) -> Option<Late> {
    let of = |name: &str| all[name].as_u64();
    of("deliveries").filter(|deliveries| *deliveries > 0)?;
    Some(Late { p99: Duration::from_millis(of("p99_ms")?), early: of("early")? })
}

/// The ends of the steps by the clock. Where they are read from a table of minutes or hours, they are moved to its next line.
fn aligned(edges: &[Duration], now: UnixMs) -> Vec<UnixMs> {
    let up = |at: UnixMs, ms: u64| UnixMs(at.0.div_ceil(ms) * ms);
    let end = |edge: &Duration| match now.plus(*edge) {
        end if *edge > MINUTES => up(end, HOUR_MS),
        end if *edge * 2 > COUNTED => up(end, MINUTE_MS),
        end => end,
    };
    edges.iter().map(end).collect()
}

async fn count(
    index: &Index,
    after: Option<UnixMs>,
    before: Option<UnixMs>,
) -> Result<Json, Problem> {
    let named = [("due_after", after), ("due_before", before)];
    let given = named.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at?.to_string())));
    index(Question::Count(given.collect())).await
}

async fn load(index: &Index, step: &str, from: UnixMs, to: UnixMs) -> Result<Json, Problem> {
    let given = [("step", step.to_owned()), ("from", from.to_string()), ("to", to.to_string())];
    let given: BTreeMap<_, _> = given.map(|(name, value)| (name.to_owned(), value)).into();
    index(Question::Load(given)).await
}

fn messages(of: &Json) -> u64 {
    of["messages"].as_u64().unwrap_or(0)
}

fn steps(load: &Json) -> impl Iterator<Item = (UnixMs, u64)> {
    let steps = load["steps"].as_array().into_iter().flatten();
    steps.filter_map(|step| Some((UnixMs(step["from_ms"].as_u64()?), messages(step))))
}

fn targets(load: &Json) -> Vec<(Option<(String, String)>, u64)> {
    let targets = load["targets"].as_array().into_iter().flatten();
    let text = |of: &Json| of.as_str().unwrap_or_default().to_owned();
    let target = |of: &Json| {
        let known = of["target"].as_object();
        let target = known.map(|target| (text(&target["exchange"]), text(&target["routing_key"])));
        (target, messages(of))
    };
    targets.map(target).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_849_920_012);

    /// An index that knows when each message is due.
    fn index(due: Vec<UnixMs>) -> (Index, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let counter = asked.clone();
        let index: Index = Arc::new(move |question| {
            *counter.lock().unwrap() += 1;
            let time = |given: &BTreeMap<String, String>, name: &str| {
                let text = given.get(name)?;
                let at: jiff::Timestamp = text.parse().unwrap();
                Some(UnixMs(at.as_millisecond() as u64))
            };
            let within = |from: Option<UnixMs>, to: Option<UnixMs>| {
                let within = |at: &&UnixMs| {
                    from.is_none_or(|from| **at >= from) && to.is_none_or(|to| **at < to)
                };
                due.iter().filter(within).copied().collect::<Vec<_>>()
            };
            let answer = match question {
                Question::Count(given) => {
                    let found = within(time(&given, "due_after"), time(&given, "due_before"));
                    json!({ "messages": found.len(), "states": {}, "complete": true, "lag_ms": 3, "gaps": [] })
                }
                Question::Load(given) => {
                    let ms = if given["step"] == "minute" { MINUTE_MS } else { HOUR_MS };
                    let (from, to) = (time(&given, "from").unwrap(), time(&given, "to").unwrap());
                    let (from, to) = (UnixMs(from.0 / ms * ms), UnixMs(to.0.div_ceil(ms) * ms));
                    let mut steps = BTreeMap::<u64, u64>::new();
                    for at in within(Some(from), Some(to)) {
                        *steps.entry(at.0 / ms * ms).or_default() += 1;
                    }
                    let steps =
                        steps.iter().map(|(at, of)| json!({ "from_ms": at, "messages": of }));
                    json!({ "steps": steps.collect::<Vec<_>>(), "targets": [] })
                }
                Question::Lateness => {
                    json!({ "all": { "deliveries": 5, "p99_ms": 7, "early": 0 } })
                }
                other => panic!("{other:?}"),
            };
            async move { Ok(answer) }.boxed()
        });
        (index, asked)
    }

    #[tokio::test]
    async fn every_message_is_in_one_step() {
        let unit = Duration::from_secs(15);
        let edges = super::super::bins::edges(unit, Duration::from_secs(180 * 86_400));
        let mut due = vec![NOW.minus(Duration::from_secs(600))];
        for step in edges.windows(2) {
            due.push(NOW.plus((step[0] + step[1]) / 2));
        }
        for edge in &edges {
            for shift in [-61_000, -1, 0, 1, 61_000_i64] {
                let at = (NOW.plus(*edge).0 as i64 + shift) as u64;
                due.push(UnixMs(at));
            }
        }
        let last = *edges.last().unwrap();
        due.retain(|at| *at < NOW.plus(last).minus(Duration::from_secs(7_200)));
        let (index, asked) = index(due.clone());
        let known = ask(&index, &edges, NOW).await.unwrap();
        assert_eq!(known.exact.len(), edges.len() - 1);
        assert_eq!(known.exact.iter().sum::<u64>() as usize, due.len(), "{:?}", known.exact);
        assert_eq!(known.messages as usize, due.len());
        assert!(known.exact.iter().all(|of| *of > 0), "{:?}", known.exact);
        assert_eq!(known.late, Some(Late { p99: Duration::from_millis(7), early: 0 }));
        assert!(*asked.lock().unwrap() < 17);
    }
}
