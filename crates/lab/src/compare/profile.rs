//! Where the broker's time goes: who in its Erlang VM did how much while a subject floods.
//!
//! Reductions are the VM's unit of work, some function calls each. They are counted for every process, which
//! CPU time is not, and they leave out what the VM does itself: garbage collection, scheduling, files.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use dormouse_core::clock::Clock;

use super::conditions::Bench;
use super::entrants::{BINARY, CEILING, CLIENT, Entrant, FLOOR, HEADER, TWO, UNSCALED};
use super::flood::{flood, fly, trial};
use super::results::{ProfileRow, Work};
use crate::bench::Report;
use crate::dev::Node;

/// Those whose ratios are judged.
const PROFILED: [&str; 7] = [CEILING, FLOOR, BINARY, HEADER, CLIENT, TWO, UNSCALED];

/// `rabbitmqctl` takes so long to begin, at most; the flood goes on for as much longer.
const CTL: Duration = Duration::from_secs(6);

pub async fn measure(bench: &Bench, node: &Node) -> anyhow::Result<Vec<ProfileRow>> {
    let mut rows = Vec::new();
    let entrants = bench.entrants(|name| PROFILED.contains(&name)).await?;
    for entrant in &entrants {
        let row = profile(bench, node, entrant).await.context(entrant.name.clone())?;
        let words =
            |(work, share): &(Work, f64)| format!("{} {:.0} %", work.words(), share * 100.0);
        let most: Vec<_> = row.shares.iter().take(3).map(words).collect();
        eprintln!("    {}: {}", row.name, most.join(", "));
        rows.push(row);
    }
    for entrant in entrants {
        entrant.leave().await;
    }
    Ok(rows)
}

async fn profile(bench: &Bench, node: &Node, entrant: &Entrant) -> anyhow::Result<ProfileRow> {
    let profile = flood(entrant, trial(entrant).await?);
    let window = Duration::from_secs(bench.seconds);
    let warm_up = profile.timing(Clock::default().now().0, window, 1, u64::MAX).warm_up;
    let code = erlang(warm_up, window);
    let (flown, said) = tokio::join!(fly(entrant, profile, window + CTL, 1), async {
        node.ctl(&["eval", &code]).await
    });
    let report = Report::of(&flown?);
    let broker = report.windows.first().and_then(|window| window.broker);
    let counts = counts(&said?);
    let all: f64 = counts.values().sum();
    let mut shares: Vec<_> = counts.into_iter().map(|(work, count)| (work, count / all)).collect();
    shares.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(ProfileRow {
        name: entrant.name.clone(),
        per_second: report.per_second(),
        broker_us: broker.map(|cost| cost.cpu_us_per_message),
        reductions: all / (report.per_second() * window.as_secs_f64()),
        shares,
    })
}

/// Prints for each kind of process how many reductions it made while it looked.
fn erlang(lead: Duration, window: Duration) -> String {
    let (lead_ms, window_ms) = (lead.as_millis(), window.as_millis());
    format!(
        r#"
Kind = fun(Pid) ->
  case erlang:process_info(Pid, [dictionary, registered_name, reductions]) of
    undefined -> gone;
    [{{_, Dictionary}}, {{_, Name}}, {{_, Reductions}}] ->
      Module = case lists:keyfind(process_name, 1, Dictionary) of
        {{_, {{Own, _}}}} -> Own;
        _ -> case lists:keyfind('$initial_call', 1, Dictionary) of {{_, {{First, _, _}}}} -> First; _ -> none end
      end,
      {{{{Module, Name}}, Reductions}}
  end
end,
Look = fun() -> maps:from_list([{{Pid, Kind(Pid)}} || Pid <- erlang:processes()]) end,
timer:sleep({lead_ms}), Before = Look(), timer:sleep({window_ms}), After = Look(),
maps:foreach(fun
  (_, gone) -> ok;
  (Pid, {{{{Module, Name}}, Reductions}}) ->
    Earlier = case maps:get(Pid, Before, gone) of gone -> 0; {{_, Count}} -> Count end,
    io:format("~s ~b ~s~n", [Module, Reductions - Earlier, if Name =:= [] -> ""; true -> Name end])
end, After)."#
    )
}

/// From lines "module reductions name".
fn counts(said: &str) -> BTreeMap<Work, f64> {
    let mut counts = BTreeMap::new();
    for line in said.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(module), Some(reductions), name) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if let Ok(reductions) = reductions.parse::<f64>() {
            *counts.entry(Work::of(module, name.unwrap_or_default())).or_default() += reductions;
        }
    }
    counts
}
