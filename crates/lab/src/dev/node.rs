//! One running broker.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::container::{self, Container};
use super::environment::{node_name, variables, write_files};
use super::log::Log;
use super::ports::Ports;
use super::process::{Process, output};
use super::{Epmd, Installation, NodeError, NodeOptions, api};

/// A start takes 3 to 6 seconds on two idle cores; a loaded machine may be many times slower.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// A clean stop takes about a second; it waits for queues to write what they hold.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How often to choose new ports when someone else was faster.
const PORT_TRIES: u32 = 5;

/// A private RabbitMQ node: own directory, ports, cookie and epmd, bound to 127.0.0.1, user `guest`/`guest`.
///
/// Dropping it kills the broker and waits until it is gone; so does, without the waiting, the death of this process.
/// It belongs to no async runtime, so a `static` one can serve many tests.
#[derive(Debug)]
pub struct Node {
    // Fields are dropped in this order: the broker before its container, epmd and the lock of its directory.
    broker: Option<Process>,
    container: Option<Container>,
    own_epmd: Option<Epmd>,
    installation: Installation,
    options: NodeOptions,
    name: String,
    ports: Ports,
    version: String,
    log: Log,
    /// Held as long as the node may write to its directory.
    _lock: File,
}

impl Node {
    /// Starts a broker and returns when AMQP and the management API both answer.
    pub async fn start(
        installation: &Installation,
        mut options: NodeOptions,
    ) -> Result<Node, NodeError> {
        fs::create_dir_all(&options.directory).map_err(NodeError::file(&options.directory))?;
        options.directory =
            options.directory.canonicalize().map_err(NodeError::file(&options.directory))?;
        let lock = lock(&options.directory)?;
        let name = match installation.image() {
            Some(_) => container::NODE_NAME.to_owned(),
            None => node_name(&options)?,
        };
        let mut node = Node {
            broker: None,
            container: None,
            own_epmd: None,
            installation: installation.clone(),
            name,
            ports: choose_ports(&options),
            version: installation.version().to_owned(),
            log: Log::new(options.directory.join("log/broker.log")),
            options,
            _lock: lock,
        };
        for _ in 1..PORT_TRIES {
            match node.launch().await {
                Err(error) if error.is_port_taken() => {
                    tracing::debug!(ports = ?node.ports, "a port was taken meanwhile, choosing others");
                    node.kill();
                    node.container = None;
                    node.ports = choose_ports(&node.options);
                }
                result => return result.map(|()| node),
            }
        }
        node.launch().await.map(|()| node)
    }

    /// Stops the broker cleanly, as `rabbitmqctl stop` does. Data and ports stay for [`start_again`](Node::start_again).
    pub async fn stop(&mut self) -> Result<(), NodeError> {
        if let Some(broker) = &mut self.broker {
            // It fails only if the watchdog was killed; then the deadline decides.
            let _ = broker.terminate();
            let deadline = Instant::now() + STOP_DEADLINE;
            while broker.ended().is_none() {
                if Instant::now() >= deadline {
                    self.kill();
                    return Err(NodeError::NotStopped {
                        waited: STOP_DEADLINE,
                        log: self.log.excerpt(),
                    });
                }
                sleep(POLL_INTERVAL).await;
            }
        }
        self.kill();
        Ok(())
    }

    /// Kills the Erlang VM (SIGKILL) and returns when it is gone. Data and ports stay for
    /// [`start_again`](Node::start_again). Does nothing if the broker does not run.
    pub fn kill(&mut self) {
        if let Some(container) = self.container.as_ref().filter(|_| self.broker.is_some()) {
            container.kill();
        }
        self.broker = None;
        self.own_epmd = None;
    }

    /// Starts a stopped or killed broker with the same data on the same ports.
    pub async fn start_again(&mut self) -> Result<(), NodeError> {
        if self.broker.as_mut().is_some_and(|broker| broker.ended().is_none()) {
            return Err(NodeError::AlreadyRunning);
        }
        self.launch().await
    }

    /// [`stop`](Node::stop), then [`start_again`](Node::start_again).
    pub async fn restart(&mut self) -> Result<(), NodeError> {
        self.stop().await?;
        self.start_again().await
    }

    /// Runs `rabbitmqctl` against this node and returns what it prints. It takes a second or two.
    pub async fn ctl(&self, arguments: &[&str]) -> Result<String, NodeError> {
        let mut command = match &self.container {
            Some(container) => container.rabbitmqctl(),
            None => self.program("rabbitmqctl"),
        };
        command.args(arguments);
        output(command).await
    }

    /// Creates a virtual host that `guest` may do everything in. Creating it twice is fine.
    pub async fn add_vhost(&self, vhost: &str) -> Result<(), NodeError> {
        self.management("PUT", &format!("/api/vhosts/{}", api::encode(vhost))).await.map(|_| ())
    }

    /// Deletes a virtual host and everything in it.
    pub async fn delete_vhost(&self, vhost: &str) -> Result<(), NodeError> {
        self.management("DELETE", &format!("/api/vhosts/{}", api::encode(vhost))).await.map(|_| ())
    }

    /// Where it listens for AMQP, on 127.0.0.1.
    pub fn amqp_port(&self) -> u16 {
        self.ports.amqp
    }

    /// `amqp://guest:guest@127.0.0.1:PORT`, the virtual host `/`.
    pub fn amqp_uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}", self.ports.amqp)
    }

    /// The same for another virtual host, percent-encoded as a URI needs it.
    pub fn amqp_uri_for(&self, vhost: &str) -> String {
        format!("{}/{}", self.amqp_uri(), api::encode(vhost))
    }

    /// `http://guest:guest@127.0.0.1:PORT`, the management API and UI.
    pub fn management_uri(&self) -> String {
        format!("http://guest:guest@127.0.0.1:{}", self.ports.management)
    }

    /// `http://127.0.0.1:PORT/metrics`, the broker's own metrics.
    pub fn prometheus_uri(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.ports.prometheus)
    }

    /// The broker's version as it reports it, such as `4.0.5`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The Erlang node name, for `rabbitmqctl join_cluster` and the like.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it keeps everything, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.options.directory
    }

    /// The broker's log, with whatever the Erlang VM itself prints.
    pub fn log_path(&self) -> PathBuf {
        self.log.path().to_path_buf()
    }

    /// The process id of the Erlang VM (of the Docker client under Docker), or `None` when stopped.
    pub fn pid(&self) -> Option<u32> {
        self.broker.as_ref().map(Process::pid)
    }

    async fn launch(&mut self) -> Result<(), NodeError> {
        self.broker = None;
        self.own_epmd = None;
        let image = self.installation.image();
        write_files(&self.options, &self.ports, image.is_some())?;
        if let (Some(image), None) = (image, &self.container) {
            self.container = Some(Container::create(image, &self.options, &self.ports).await?);
        }
        if image.is_none() && self.options.epmd.is_none() {
            self.own_epmd = Some(Epmd::start_on(&self.installation, self.ports.epmd).await?);
        }
        let mut command = match &self.container {
            Some(container) => container.start(),
            None => self.program("rabbitmq-server"),
        };
        let log = self.log.begin()?;
        let errors = log.try_clone().map_err(NodeError::file(self.log.path()))?;
        command.stdout(log).stderr(errors);
        self.broker = Some(Process::spawn(command)?);
        let ready = self.ready().await;
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    async fn ready(&mut self) -> Result<(), NodeError> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            let ended = self.broker.as_mut().and_then(Process::ended);
            let epmd_lost = self.own_epmd.as_ref().is_some_and(|epmd| !epmd.runs());
            if epmd_lost || (ended.is_some() && self.log.says_port_taken()) {
                return Err(NodeError::PortTaken { log: self.log.excerpt() });
            }
            if let Some(status) = ended {
                return Err(NodeError::Stopped {
                    status: status.to_string(),
                    log: self.log.excerpt(),
                });
            }
            if let Some(version) = api::answering_version(&self.ports, &self.name).await {
                self.version = version;
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(NodeError::NotReady {
                    waited: READY_DEADLINE,
                    log: self.log.excerpt(),
                });
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn management(&self, method: &str, path: &str) -> Result<String, NodeError> {
        let request = || format!("{method} {path}");
        match api::request(self.ports.management, method, path, api::ANSWER_DEADLINE).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(answer.body),
            Ok(answer) => Err(NodeError::Refused {
                request: request(),
                status: answer.status,
                body: answer.body,
            }),
            Err(source) => Err(NodeError::Unreachable { request: request(), source }),
        }
    }

    fn program(&self, program: &str) -> Command {
        let inside = self.installation.inside(&self.options.directory);
        let epmd_port =
            self.options.epmd.as_ref().map_or(self.ports.epmd, |epmd: &Arc<Epmd>| epmd.port());
        let mut command = self.installation.program(program, &self.options.directory);
        command.envs(variables(&self.name, &self.ports, epmd_port, &inside));
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

fn choose_ports(options: &NodeOptions) -> Ports {
    let free = Ports::choose();
    Ports {
        amqp: options.amqp_port.unwrap_or(free.amqp),
        management: options.management_port.unwrap_or(free.management),
        ..free
    }
}

fn lock(directory: &Path) -> Result<File, NodeError> {
    let path = directory.join("lock");
    let file = File::create(&path).map_err(NodeError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(NodeError::DirectoryInUse { directory: directory.to_path_buf() })
        }
        Err(TryLockError::Error(source)) => Err(NodeError::File { path, source }),
    }
}
