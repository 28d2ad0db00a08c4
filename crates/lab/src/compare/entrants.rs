//! Who takes part, and in which environment.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use dormouse::config::{Config, Sources, durations};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::celery;
use super::conditions::Bench;
use crate::bench::{Binary, Delays, Environment, Subject};

/// One subject with its virtual host, which has all that it needs.
pub struct Entrant {
    pub name: String,
    pub environment: Environment,
    pub subject: Subject,
    pub delays: Delays,
    /// `topology.unit`, of a cascade.
    pub unit: Option<Duration>,
    pub relay: Option<RelayProcess>,
}

/// Of the scale model.
pub const DELAYS: Delays = Delays { min_ms: 1, max_ms: 4_095 };
pub const AT_ONCE: Delays = Delays { min_ms: 0, max_ms: 0 };
pub const SCALE: u32 = 1_000;
/// The unit of a binary cascade, scaled from its second; and of Dormouse's second row.
pub const UNIT: Duration = Duration::from_millis(1);

pub const CEILING: &str = "no delay (the ceiling)";
pub const FLOOR: &str = "one TTL hop (the floor)";
pub const BINARY: &str = "binary cascade, entered at the highest bit (NServiceBus)";
pub const CELERY: &str = "binary cascade, entered at the top (Celery, kombu's own)";
pub const RELAY: &str = "bare relay: consume, publish, confirm, ack";
pub const RELAY_SLOW: &str = "bare relay, at the rate of Dormouse's header path";
pub const HEADER: &str = "Dormouse, header";
pub const CLIENT: &str = "Dormouse, client";
pub const TWO: &str = "Dormouse, header, two workers";
pub const HEADER_1MS: &str = "Dormouse, header, unit 1ms";
pub const CLIENT_1MS: &str = "Dormouse, client, unit 1ms";
pub const UNSCALED: &str = "Dormouse, header, unscaled";
/// Shorter than the unit, so that every message goes straight to the due queue: that queue's ceiling.
pub const DUE: &str = "Dormouse, client, unscaled: the due queue alone";

/// What the settings make of the defaults, without a look at files and variables.
pub fn configured(settings: &[String]) -> anyhow::Result<Config> {
    let mut overrides = Vec::new();
    for setting in settings {
        let (key, value) = setting.split_once('=').context("write a setting as KEY=VALUE")?;
        overrides.push((key.to_owned(), value.to_owned()));
    }
    Ok(dormouse::config::load(Sources { overrides, ..Default::default() })?)
}

fn virtual_host(name: &str) -> String {
    name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// The settings that scale a configuration down: those that plan a message. A hold margin below a
/// millisecond is none.
fn scaled(config: &Config, unit: Duration) -> Vec<String> {
    let whole_ms = |duration: Duration| {
        durations::duration(Duration::from_millis((duration / SCALE).as_millis() as u64))
    };
    vec![
        format!("topology.unit={}", durations::duration(unit)),
        format!("topology.max_delay={}", whole_ms(config.topology.max_delay)),
        format!("hold.margin={}", whole_ms(config.hold.margin)),
        format!("attempts.initial_backoff={}", whole_ms(config.attempts.initial_backoff)),
        format!("attempts.max_backoff={}", whole_ms(config.attempts.max_backoff)),
    ]
}

impl Bench {
    pub fn scaled_unit(&self) -> Duration {
        (self.config.topology.unit / SCALE).max(UNIT)
    }

    /// A virtual host with `workers` workers whose configuration has these settings besides.
    pub async fn environment(
        &self,
        name: &str,
        workers: usize,
        settings: &[String],
    ) -> anyhow::Result<Environment> {
        let mut settings: Vec<String> = self.settings.iter().chain(settings).cloned().collect();
        let mut config = configured(&settings)?;
        config.broker = self.config.broker.clone();
        settings.push("log.filter=error,lapin=off".into());
        let arguments: Vec<String> =
            settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect();
        let workers = vec![arguments.as_slice(); workers];
        Ok(Environment::own(&config, name, &self.worker, &workers).await?)
    }

    /// Everybody who floods and `takes_part`.
    pub async fn entrants(
        &self,
        takes_part: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Vec<Entrant>> {
        let mut entrants = Vec::new();
        let asked_for = |name: &str| {
            self.subjects.is_empty() || self.subjects.iter().any(|part| name.contains(part))
        };
        let wanted = |name: &str| takes_part(name) && asked_for(name);
        let fixed = [
            (CEILING, Subject::Undelayed, AT_ONCE),
            (FLOOR, Subject::OneHop { ttl: Duration::from_millis(2_048) }, DELAYS),
            (BINARY, Subject::Binary(Binary::nservicebus(UNIT)), DELAYS),
        ];
        for (number, (name, subject, delays)) in fixed.into_iter().enumerate() {
            if wanted(name) {
                let environment = self.environment(&format!("fixed-{number}"), 0, &[]).await?;
                environment.prepare(&subject).await?;
                let unit = matches!(subject, Subject::Binary(_)).then_some(UNIT);
                entrants.push(Entrant::new(name, environment, subject, delays, unit));
            }
        }
        if wanted(CELERY) {
            entrants.extend(self.celery().await?);
        }
        let unit = self.scaled_unit();
        let mut rows = vec![(HEADER, 1, unit), (CLIENT, 1, unit), (TWO, 2, unit)];
        if unit != UNIT {
            rows.extend([(HEADER_1MS, 1, UNIT), (CLIENT_1MS, 1, UNIT)]);
        }
        for (name, workers, unit) in rows {
            if wanted(name) {
                let settings = scaled(&self.config, unit);
                let environment = self.environment(&virtual_host(name), workers, &settings).await?;
                let subject = if name.contains("client") {
                    Subject::client(&environment.config)
                } else {
                    Subject::header(&environment.config)
                };
                entrants.push(Entrant::new(name, environment, subject, DELAYS, Some(unit)));
            }
        }
        for (name, path) in
            [(UNSCALED, Subject::header as fn(&Config) -> Subject), (DUE, Subject::client)]
        {
            if wanted(name) {
                let environment = self.environment(&virtual_host(name), 1, &[]).await?;
                let subject = path(&environment.config);
                let unit = Some(self.config.topology.unit);
                entrants.push(Entrant::new(name, environment, subject, DELAYS, unit));
            }
        }
        if wanted(RELAY) {
            let mut relay = self.relay("relay").await?;
            relay.go().await?;
            entrants.push(relay);
        }
        Ok(entrants)
    }

    async fn celery(&self) -> anyhow::Result<Option<Entrant>> {
        if !celery::is_installed() {
            eprintln!("    Celery is left out: scripts/bench.sh makes its environment");
            return Ok(None);
        }
        let environment = self.environment("celery", 0, &[]).await?;
        let binary = Binary::celery(UNIT);
        let uri = environment.config.broker.uri[0].expose();
        let version = celery::declare(uri, &environment.target, &binary).await?;
        eprintln!("    kombu {version}");
        let subject = Subject::Binary(binary);
        Ok(Some(Entrant::new(CELERY, environment, subject, DELAYS, Some(UNIT))))
    }

    /// The bare relay, told to wait.
    pub async fn relay(&self, name: &str) -> anyhow::Result<Entrant> {
        let mut environment = self.environment(name, 0, &[]).await?;
        let subject = Subject::Relayed { queue: "relayed".into() };
        environment.prepare(&subject).await?;
        let uri = environment.config.broker.uri[0].expose();
        let relay = RelayProcess::start(&self.own, uri, "relayed", &environment.target).await?;
        environment.named_workers.extend(relay.child.id());
        let mut entrant = Entrant::new(RELAY, environment, subject, AT_ONCE, None);
        entrant.relay = Some(relay);
        Ok(entrant)
    }
}

impl Entrant {
    fn new(
        name: &str,
        environment: Environment,
        subject: Subject,
        delays: Delays,
        unit: Option<Duration>,
    ) -> Self {
        Self { name: name.into(), environment, subject, delays, unit, relay: None }
    }

    /// Lets its relay begin.
    pub async fn go(&mut self) -> anyhow::Result<()> {
        self.relay.as_mut().context("it relays")?.go().await
    }

    pub async fn leave(self) {
        drop(self.relay);
        if let Some(problem) = self.environment.leave().await {
            eprintln!("    {}: {problem}", self.name);
        }
    }
}

/// This program as a bare relay.
pub struct RelayProcess {
    child: Child,
}

impl RelayProcess {
    async fn start(program: &Path, uri: &str, from: &str, to: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(["compare", "relay", uri, from, to])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("it was asked for")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        ensure!(line.trim() == "ready", "the relay did not get ready");
        Ok(Self { child })
    }

    async fn go(&mut self) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("it was asked for")?;
        stdin.write_all(b"go\n").await?;
        Ok(stdin.flush().await?)
    }
}
