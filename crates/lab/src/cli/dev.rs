//! `dormouse-lab dev`: a private broker and a worker, for a developer, the demo and the tests.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use dormouse::cli::table::print;
use dormouse::cli::{self, Exit, Failure, Options};
use dormouse::config::{Config, Role, Sources, Uri};
use dormouse::service::Ports;
use dormouse::{http, service, worker};
use tokio_util::sync::CancellationToken;

use crate::dev::{self, Installation, Node, NodeError, NodeOptions};

#[derive(Debug, Args)]
pub struct Dev {
    /// Folder for the broker's data; kept, so that the next run finds it again.
    #[arg(long, default_value = ".dormouse/dev", value_name = "FOLDER")]
    directory: PathBuf,
    /// Root folder of another RabbitMQ, as scripts/get-rabbitmq.sh makes them.
    #[arg(long, value_name = "FOLDER")]
    broker: Option<PathBuf>,
    /// So many nodes as a cluster, which begins empty each time.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=5))]
    nodes: u8,
    /// Only the broker.
    #[arg(long)]
    no_worker: bool,
    /// Run this command with DORMOUSE_URI and DORMOUSE_MANAGEMENT_URI set, end with it, and exit with
    /// its code.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Dev {
    pub async fn run(self, options: &Options) -> Result<Exit, Failure> {
        let sources = with_all_on(options.sources()?);
        let mut config =
            dormouse::config::load(sources).map_err(|faults| Failure::usage(faults.to_string()))?;
        cli::log(&config.log)?;
        let failed = |error: NodeError| Failure::failed(error.to_string());
        let installation = Installation::find(self.broker.as_deref()).map_err(failed)?;
        let stop = cli::stop_on_signal()?;
        eprintln!(
            "starting a private RabbitMQ {} in {} …",
            installation.version(),
            self.directory.display()
        );
        let health = worker::Health::default();
        // before the broker, which takes its time: the ports may be another worker's
        let (mut server, mut ports) = (None, None);
        if self.command.is_empty() && !self.no_worker {
            let listener = bound("http.listen", &mut config.http.listen)?;
            server = Some(http::serve(listener, health.clone(), worker::Clock::default())?);
            let api = match config.service.answers_http() {
                true => bound("api.listen", &mut config.api.listen)?,
                false => None,
            };
            ports = Some(Ports::with_api(api, &config)?);
        }
        let mut nodes = tokio::select! {
            started = self.start(&installation) => started.map_err(failed)?,
            () = stop.cancelled() => return Ok(Exit::Done),
        };
        config.broker.uri = nodes.iter().map(|node| Uri::new(node.amqp_uri())).collect();
        config.broker.management_uri = Some(Uri::new(nodes[0].management_uri()));
        let ended = if self.command.is_empty() {
            self.play(config, ports, &nodes, health, stop).await
        } else {
            self.run_command(&nodes, stop).await
        };
        if let Some(server) = server {
            server.abort();
        }
        for node in &mut nodes {
            node.stop().await.map_err(failed)?;
        }
        ended
    }

    async fn start(&self, installation: &Installation) -> Result<Vec<Node>, NodeError> {
        if self.nodes == 1 {
            let node = Node::start(installation, NodeOptions::new(&self.directory)).await?;
            return Ok(vec![node]);
        }
        let names = ["a", "b", "c", "d", "e"].map(|letter| format!("dev-{letter}@localhost"));
        let names: Vec<&str> = names.iter().take(self.nodes.into()).map(String::as_str).collect();
        let cookie = uuid::Uuid::now_v7().simple().to_string();
        dev::cluster(installation, &self.directory, &names, &cookie, |_| {}).await
    }

    async fn play(
        &self,
        config: Config,
        ports: Option<Ports>,
        nodes: &[Node],
        health: worker::Health,
        stop: CancellationToken,
    ) -> Result<Exit, Failure> {
        let config_uri = uris(nodes);
        let management = nodes[0].management_uri().replace("guest:guest@", "");
        print(format!("\n  AMQP           {config_uri}"))?;
        print(format!("  management UI  {management}   (guest / guest)"))?;
        if let Some(address) = config.http.listen.filter(|_| !self.no_worker) {
            print(format!("  worker         http://{address}/metrics"))?;
        }
        let api = config.api.listen.filter(|_| !self.no_worker && config.service.has(Role::Api));
        let mut curl = String::new();
        if let Some(address) = api {
            let scheme = if config.api.cert_file.is_some() { "https" } else { "http" };
            if config.service.has(Role::Console) {
                let path = &config.console.base_path;
                print(format!("  console        {scheme}://{address}{path}/   (guest / guest)"))?;
            }
            print(format!("  HTTP API       {scheme}://{address}/v1   (guest / guest)"))?;
            curl = format!(
                "\n\n  or over HTTP:\n  curl -u guest:guest {scheme}://{address}/v1/messages -d \\\n    \
                 '{{\"target\":{{\"queue\":\"hello\"}},\"delay\":\"3s\",\"body\":\"good morning\"}}'"
            );
        }
        let on = [(COMMANDS, config.commands.enabled), (LEDGER, config.ledger.enabled)];
        let on = on.into_iter().filter(|(_, enabled)| *enabled);
        let variables: String = on.map(|(variable, _)| format!(" {variable}=true")).collect();
        print(format!(
            "\n  Try, in another terminal:\n  export DORMOUSE_URI={config_uri}{variables}\n  dormouse publish --delay 3s \
             --to hello 'good morning'\n  dormouse status{curl}\n\n  Ctrl-C ends both.\n"
        ))?;
        let Some(ports) = ports else {
            stop.cancelled().await;
            return Ok(Exit::Done);
        };
        service::run(config, ports, worker::Clock::default(), health, stop).await?;
        Ok(Exit::Done)
    }

    async fn run_command(&self, nodes: &[Node], stop: CancellationToken) -> Result<Exit, Failure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            unreachable!("the caller looked")
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("DORMOUSE_URI", uris(nodes))
            .env("DORMOUSE_MANAGEMENT_URI", nodes[0].management_uri())
            .stdin(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::failed(format!("cannot run {program}: {error}")))?;
        let status = tokio::select! {
            status = child.wait() => status?,
            () = stop.cancelled() => {
                // the terminal sent it the signal too; give it the time to end in order
                child.wait().await?
            }
        };
        if status.success() {
            Ok(Exit::Done)
        } else {
            Err(Failure::failed(format!("{program} ended with {status}")))
        }
    }
}

/// As `broker.uri` takes them.
fn uris(nodes: &[Node]) -> String {
    nodes.iter().map(Node::amqp_uri).collect::<Vec<_>>().join(",")
}

const COMMANDS: &str = "DORMOUSE_COMMANDS_ENABLED";
const LEDGER: &str = "DORMOUSE_LEDGER_ENABLED";
const ROLES: &str = "DORMOUSE_SERVICE_ROLES";

/// Commands, the ledger, the HTTP API and the console are on, so that there is something to try, unless a variable or a file says
/// what is wanted.
fn with_all_on(mut sources: Sources) -> Sources {
    let roles = "worker,api,console";
    for (variable, value) in [(COMMANDS, "true"), (LEDGER, "true"), (ROLES, roles)] {
        let is_said = sources.environment.iter().any(|(name, _)| name == variable);
        if !is_said && sources.file.is_none() {
            sources.environment.push((variable.to_owned(), value.to_owned()));
        }
    }
    sources
}

/// The port at `at`, which becomes the one that was free.
fn bound(key: &str, at: &mut Option<SocketAddr>) -> Result<Option<TcpListener>, Failure> {
    let Some(wanted) = *at else { return Ok(None) };
    let listener = free_or_another(key, wanted)?;
    *at = Some(listener.local_addr()?);
    Ok(Some(listener))
}

/// Listens there, or on a free port where that one is taken: by another worker on this machine. It is not let
/// go of in between, since others may start at the same moment.
fn free_or_another(key: &str, wanted: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = match TcpListener::bind(wanted) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => TcpListener::bind((wanted.ip(), 0))
            .inspect(|_| {
                eprintln!("port {} of {key} is taken: this worker gets another one", wanted.port());
            }),
        bound => bound,
    };
    bound.map_err(|error| Failure::usage(format!("{key}: cannot listen on {wanted}: {error}")))
}
