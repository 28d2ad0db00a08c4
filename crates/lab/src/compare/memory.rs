//! What the broker's Erlang VM needs for each message that sleeps, and for each in a plain queue of the same
//! type: each on a broker that did nothing before.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use dormouse::config::Uri;
use dormouse_core::clock::Clock;

use super::conditions::Bench;
use super::results::Memory;
use crate::bench::{Delays, Flow, Profile, Subject};
use crate::dev::{Installation, Node, NodeOptions};

const MESSAGES: u64 = 200_000;
/// Asleep for longer than this lasts.
pub const ASLEEP: Delays = Delays { min_ms: 3_600_000, max_ms: 24 * 3_600_000 };

/// Until the write-ahead log is in its segment files, the VM holds all that went through it.
const ROLL_OVER: &str = "ra_log_wal:force_roll_over(ra_log_wal).";
/// Bytes that the VM has in use, without garbage.
const IN_USE: &str =
    "[erlang:garbage_collect(Pid) || Pid <- erlang:processes()], erlang:memory(total).";
/// The number stands still if the least of so many readings is that of as many before, but for a
/// hundredth. The least, because the look itself leaves garbage.
const READINGS: usize = 4;
const PAUSE: Duration = Duration::from_secs(1);
const READINGS_AT_MOST: usize = 60;

pub async fn measure(
    bench: &Bench,
    installation: &Installation,
    directory: &Path,
) -> anyhow::Result<Memory> {
    let plain = |_: &_| Subject::Relayed { queue: "plain".into() };
    let memory = Memory {
        messages: MESSAGES,
        bytes_per_sleeper: each(bench, installation, directory, Subject::client).await?,
        bytes_per_plain: each(bench, installation, directory, plain).await?,
    };
    let Memory { messages, bytes_per_sleeper, bytes_per_plain } = &memory;
    eprintln!(
        "    {messages} each: {bytes_per_sleeper:.0} bytes asleep, {bytes_per_plain:.0} plain"
    );
    Ok(memory)
}

async fn each(
    bench: &Bench,
    installation: &Installation,
    directory: &Path,
    subject: impl Fn(&dormouse::config::Config) -> Subject,
) -> anyhow::Result<f64> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    let mut node = Node::start(installation, NodeOptions::new(directory)).await?;
    let mut bench = bench.clone();
    bench.config.broker.uri = vec![Uri::new(node.amqp_uri())];
    bench.config.broker.management_uri = Some(Uri::new(node.management_uri()));
    let environment = bench.environment("memory", 1, &[]).await?;
    let subject = subject(&environment.config);
    environment.prepare(&subject).await?;

    let before = in_use(&node).await?;
    let profile = Profile::Pending { messages: MESSAGES, delays: ASLEEP };
    let timing = profile.timing(Clock::default().now().0, Duration::ZERO, 0, u64::MAX);
    let flown =
        Flow::new(&environment, subject, timing).run(<_>::default(), <_>::default()).await?;
    ensure!(flown.published.confirmed == MESSAGES, "all were confirmed");
    let after = in_use(&node).await?;

    environment.leave().await;
    node.stop().await?;
    Ok((after - before) / MESSAGES as f64)
}

/// Bytes, once they stand still.
async fn in_use(node: &Node) -> anyhow::Result<f64> {
    node.ctl(&["eval", ROLL_OVER]).await?;
    let mut readings: Vec<f64> = Vec::new();
    while readings.len() < READINGS_AT_MOST {
        tokio::time::sleep(PAUSE).await;
        let said = node.ctl(&["eval", IN_USE]).await?;
        readings.push(said.trim().parse().with_context(|| format!("no number: {said:?}"))?);
        let least: Vec<f64> = readings
            .rchunks_exact(READINGS)
            .take(2)
            .map(|some| some.iter().copied().fold(f64::MAX, f64::min))
            .collect();
        if let [now, before] = least[..]
            && (now - before).abs() <= now / 100.0
        {
            return Ok(now);
        }
    }
    anyhow::bail!("the broker's memory does not stand still: {readings:?}")
}
