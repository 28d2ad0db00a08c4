//! `dormouse-lab drill`: faults on private brokers under a numbered load, and a verdict on every message.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dormouse::cli::paragraph::fold;
use dormouse::cli::table::{Table, left, print, print_json, right, wide};
use dormouse::cli::{Exit, Failure, Options, Output, stop_on_signal};
use dormouse::config::durations;
use dormouse::operate::number;
use serde_json::json;

use crate::dev::{Installation, NodeError, WorkerProcess};
use crate::drill::keyed::verdict::KeyVerdict;
use crate::drill::{self, Drill, DrillError, Outcome};

#[derive(Debug, Args)]
pub struct Drills {
    /// Only these, by their numbers, such as 1,2,9. The default is all.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = drill_of)]
    only: Vec<Drill>,
    /// Print the drills there are, one a line with its number first, and hold none.
    #[arg(long)]
    list: bool,
    /// The load and the schedule of the faults follow from it; the default is a random one.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// How long the load and its delays take together, for each drill.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = durations::parse_duration)]
    duration: Duration,
    /// Messages published a second.
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    rate: u32,
    /// How late a message may be that no fault held up.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = durations::parse_duration)]
    bound: Duration,
    /// Root folder of another RabbitMQ, as scripts/get-rabbitmq.sh makes them; / is this machine's. May
    /// be repeated.
    #[arg(long = "broker", value_name = "FOLDER")]
    brokers: Vec<PathBuf>,
    /// Folder for the brokers' data and the workers' logs: one folder for each drill and version,
    /// made anew each time.
    #[arg(long, default_value = ".dormouse/drill", value_name = "FOLDER")]
    directory: PathBuf,
}

fn drill_of(text: &str) -> Result<Drill, String> {
    let number: u32 = text.parse().map_err(|_| "is no number".to_owned())?;
    let drill = Drill::ALL.into_iter().find(|drill| drill.number() == number);
    drill.ok_or_else(|| format!("there is no drill {number}"))
}

/// One drill on one broker.
struct DrillRun {
    drill: Drill,
    version: String,
    outcome: Result<Outcome, DrillError>,
}

impl Drills {
    pub async fn run(self, options: &Options) -> Result<Exit, Failure> {
        if self.list {
            list(self.drills(), options.output)?;
            return Ok(Exit::Done);
        }
        let stop = stop_on_signal()?;
        let runs = tokio::select! {
            runs = self.run_all() => runs?,
            // brokers and workers end with what runs them
            () = stop.cancelled() => return Err(Failure::failed("interrupted")),
        };
        report(&runs, options.output)?;
        Ok(if runs.iter().all(DrillRun::passed) { Exit::Done } else { Exit::Differs })
    }

    fn drills(&self) -> &[Drill] {
        if self.only.is_empty() { &Drill::ALL } else { &self.only }
    }

    async fn run_all(&self) -> Result<Vec<DrillRun>, Failure> {
        let failed = |error: NodeError| Failure::failed(error.to_string());
        let installations = match self.brokers.as_slice() {
            [] => vec![Installation::find(None).map_err(failed)?],
            roots => {
                let found = roots.iter().map(|root| Installation::find(Some(root)));
                found.collect::<Result<_, _>>().map_err(failed)?
            }
        };
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX)));
        let executable = WorkerProcess::program()?;
        let mut runs = Vec::new();
        eprintln!("seed {seed}: the same seed gives the same load and faults");
        for installation in installations {
            for drill in self.drills() {
                let version = installation.version().to_owned();
                let options = drill::Options {
                    installation: installation.clone(),
                    executable: executable.clone(),
                    directory: self.directory.join(format!("{version}-{}", drill.number())),
                    seed,
                    duration: self.duration,
                    rate: self.rate,
                    bound: self.bound,
                };
                let one = DrillRun { drill: *drill, version, outcome: drill.run(&options).await };
                eprintln!("{}", one.words());
                runs.push(one);
            }
        }
        Ok(runs)
    }
}

impl DrillRun {
    fn passed(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Outcome::passed)
    }

    fn name(&self) -> String {
        name(self.drill)
    }

    /// What came of it, as it goes on.
    fn words(&self) -> String {
        let (name, version) = (self.name(), &self.version);
        let outcome = match &self.outcome {
            Ok(outcome) => outcome,
            Err(error) => return fold(&format!("{name} on {version}: not held: {error}"), 2),
        };
        let passed = if outcome.passed() { "passed" } else { "FAILED" };
        let lines = [format!("{name} on {version}: {passed}")].into_iter().chain(outcome.words());
        let folded: Vec<_> = lines.map(|line| fold(&line, 4)).collect();
        folded.join("\n  ")
    }
}

/// As everybody calls it.
fn name(drill: Drill) -> String {
    format!("{} {}", drill.number(), drill.title())
}

fn list(drills: &[Drill], output: Output) -> Result<(), Failure> {
    let json = |drill: &Drill| json!({ "drill": drill.number(), "title": drill.title() });
    match output {
        Output::Json => print_json(&drills.iter().map(json).collect::<Vec<_>>()),
        Output::Table => print(drills.iter().copied().map(name).collect::<Vec<_>>().join("\n")),
    }
}

fn report(runs: &[DrillRun], output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => print_json(&runs.iter().map(DrillRun::json).collect::<Vec<_>>()),
        Output::Table => print(table(runs)),
    }
}

fn table(runs: &[DrillRun]) -> Table {
    let columns = [
        wide("drill"),
        left("on"),
        right("expected"),
        right("lost"),
        right("early"),
        right("late"),
        right("odd"),
        right("keys"),
        right("twice"),
        right("p99 ms"),
        left(""),
    ];
    let mut table = Table::new(columns);
    for one in runs {
        let mark = if one.passed() { "ok" } else { "FAILED" }.to_owned();
        let Ok(Outcome { verdict, .. }) = &one.outcome else {
            let dash = || "-".to_owned();
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(|_| dash());
            table.row([one.name(), one.version.clone(), a, b, c, d, e, f, g, h, mark]);
            continue;
        };
        table.row([
            one.name(),
            one.version.clone(),
            number(verdict.expected),
            number(verdict.lost),
            number(verdict.early),
            number(verdict.late),
            number(verdict.unexpected + verdict.altered),
            number(verdict.keys.faults()),
            number(verdict.duplicates.total()),
            number(verdict.lateness_ms(0.99)),
            mark,
        ]);
    }
    table
}

impl DrillRun {
    fn json(&self) -> serde_json::Value {
        let (number, title) = (self.drill.number(), self.drill.title());
        let mut document = json!({
            "drill": number, "title": title, "broker": self.version, "passed": self.passed(),
        });
        match &self.outcome {
            Err(error) => document["problem"] = error.to_string().into(),
            Ok(Outcome { verdict, faults, findings, notes }) => {
                let findings = findings.iter().map(|finding| &finding.0);
                let findings = findings.chain(&verdict.findings).chain(&verdict.keys.findings);
                let twice = verdict.duplicates;
                document["faults"] = (*faults).into();
                document["notes"] = json!(notes);
                document["findings"] = findings.cloned().collect();
                document["messages"] = json!({
                    "confirmed": verdict.confirmed, "expected": verdict.expected,
                    "once": verdict.once, "lost": verdict.lost, "early": verdict.early,
                    "late": verdict.late, "unexpected": verdict.unexpected,
                    "altered": verdict.altered, "held_up": verdict.held_up,
                });
                document["duplicates"] = json!({
                    "by_delivery": twice.by_delivery, "by_intake": twice.by_intake,
                    "by_publisher": twice.by_publisher, "by_consumer": twice.by_consumer,
                });
                if verdict.keys.schedules > 0 {
                    document["keys"] = of_keys(&verdict.keys);
                }
                let at = |share| verdict.lateness_ms(share);
                document["lateness_ms"] =
                    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) });
            }
        }
        document
    }
}

fn of_keys(keys: &KeyVerdict) -> serde_json::Value {
    let at = |share| keys.lateness_ms(share);
    json!({
        "schedules": keys.schedules, "delivered": keys.delivered, "stopped": keys.stopped,
        "either": keys.either, "duplicates": keys.duplicates, "commands": keys.commands,
        "unanswered": keys.unanswered, "refused": keys.refused, "overruled": keys.overruled,
        "cancelled_but_delivered": keys.cancelled_but_delivered,
        "dropped_without_cause": keys.dropped_without_cause, "reply_lied": keys.reply_lied,
        "early": keys.early, "odd": keys.odd,
        "lateness_ms": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
    })
}
