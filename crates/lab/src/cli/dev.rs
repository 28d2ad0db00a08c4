//! `dormouse-lab dev`: a private broker and a worker, for a developer, the demo and the tests.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use dormouse::cli::table::print;
use dormouse::cli::{self, Exit, Failure, Options};
use dormouse::config::{Config, Uri};
use dormouse::{http, worker};
use tokio_util::sync::CancellationToken;

use crate::dev::{Installation, Node, NodeError, NodeOptions};

#[derive(Debug, Args)]
pub struct Dev {
    /// Folder for the broker's data; kept, so that the next run finds it again.
    #[arg(long, default_value = ".dormouse/dev", value_name = "FOLDER")]
    directory: PathBuf,
    /// Root folder of another RabbitMQ, as scripts/get-rabbitmq.sh makes them.
    #[arg(long, value_name = "FOLDER")]
    broker: Option<PathBuf>,
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
        let mut config = options.load()?;
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
        // before the broker, which takes its time: the port may be another worker's
        let server = if self.command.is_empty() && !self.no_worker {
            let listener = config.http.listen.map(free_or_another).transpose()?;
            if let Some(listener) = &listener {
                config.http.listen = Some(listener.local_addr()?);
            }
            Some(http::serve(listener, health.clone())?)
        } else {
            None
        };
        let mut node = tokio::select! {
            started = Node::start(&installation, NodeOptions::new(&self.directory)) => started.map_err(failed)?,
            () = stop.cancelled() => return Ok(Exit::Done),
        };
        config.broker.uri = vec![Uri::new(node.amqp_uri())];
        config.broker.management_uri = Some(Uri::new(node.management_uri()));
        let ended = if self.command.is_empty() {
            self.play(config, &node, health, stop).await
        } else {
            self.run_command(&node, stop).await
        };
        if let Some(server) = server {
            server.abort();
        }
        node.stop().await.map_err(failed)?;
        ended
    }

    async fn play(
        &self,
        config: Config,
        node: &Node,
        health: worker::Health,
        stop: CancellationToken,
    ) -> Result<Exit, Failure> {
        let config_uri = node.amqp_uri();
        let management = node.management_uri().replace("guest:guest@", "");
        print(format!("\n  AMQP           {config_uri}"))?;
        print(format!("  management UI  {management}   (guest / guest)"))?;
        if let Some(address) = config.http.listen.filter(|_| !self.no_worker) {
            print(format!("  worker         http://{address}/metrics"))?;
        }
        print(format!(
            "\n  Try, in another terminal:\n  dormouse publish --uri {config_uri} --delay 3s --to hello \
             'good morning'\n  dormouse status --uri {config_uri}\n\n  Ctrl-C ends both.\n"
        ))?;
        if self.no_worker {
            stop.cancelled().await;
            return Ok(Exit::Done);
        }
        worker::run(config, worker::Clock::default(), health, stop).await?;
        Ok(Exit::Done)
    }

    async fn run_command(&self, node: &Node, stop: CancellationToken) -> Result<Exit, Failure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            unreachable!("the caller looked")
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("DORMOUSE_URI", node.amqp_uri())
            .env("DORMOUSE_MANAGEMENT_URI", node.management_uri())
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

/// Listens there, or on a free port where that one is taken: by another worker on this machine. It is not let
/// go of in between, since others may start at the same moment.
fn free_or_another(wanted: SocketAddr) -> Result<TcpListener, Failure> {
    let bound = match TcpListener::bind(wanted) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => TcpListener::bind((wanted.ip(), 0))
            .inspect(|_| {
                eprintln!("port {} is taken: this worker's metrics get another one", wanted.port());
            }),
        bound => bound,
    };
    bound
        .map_err(|error| Failure::usage(format!("http.listen: cannot listen on {wanted}: {error}")))
}
