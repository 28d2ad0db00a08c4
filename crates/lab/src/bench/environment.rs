//! Where a bench runs: a virtual host of its own with a worker of its own, which leaves nothing behind;
//! or the virtual host of the configuration with the workers that run there.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dormouse::config::{Config, Uri};
use dormouse_broker::amqp::declare::{DeclareError, declare};
use dormouse_broker::amqp::inspector::Inspector;
use dormouse_broker::amqp::{AmqpError, Connection};
use dormouse_broker::management::{Management, ManagementError};
use dormouse_core::topology::{Argument, Names, Topology};
use tokio::time::{Instant, sleep};

use super::subject::{Subject, target_queue};
use super::usage;
use super::watched::Watched;
use crate::dev::{WorkerProcess, WorkerProcessError};

pub struct Environment {
    /// The configuration with the virtual host where the bench runs.
    pub config: Config,
    pub target: String,
    pub workers: Vec<WorkerProcess>,
    /// Processes of others whose CPU time is told as the workers'.
    pub named_workers: Vec<u32>,
    brokers: Vec<u32>,
    /// To be deleted in the end.
    own: Option<(Management, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Worker(#[from] WorkerProcessError),
    #[error(
        "a virtual host for the bench cannot be created: {0}. Give a user with the tag administrator, or measure in the virtual host of broker.uri with --in-place"
    )]
    Management(#[from] ManagementError),
    #[error("no worker consumes {queue:?}: start one with `dormouse run`, or leave out --in-place")]
    NoWorker { queue: String },
    #[error("there is no process {0}")]
    NoProcess(u32),
}

/// The queue where messages arrive.
const TARGET: &str = "dormouse-bench-target";
/// In somebody's own virtual host it goes by itself, whatever becomes of the bench.
const TARGET_EXPIRES: Duration = Duration::from_secs(600);
/// The management API knows a node's process some seconds after its start.
const NODES_DEADLINE: Duration = Duration::from_secs(8);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

impl Environment {
    /// A virtual host of its own, called `name`, with the target in it, and as many workers as there are
    /// lists of `workers`' arguments: `program run` with those.
    pub async fn own(
        config: &Config,
        name: &str,
        program: &Path,
        workers: &[&[String]],
    ) -> Result<Self, EnvironmentError> {
        let management = Management::of(&config.broker)?;
        management.put_vhost(name).await?;
        let mut config = config.clone();
        config.broker.uri = config.broker.uri.iter().map(|uri| uri.in_virtual_host(name)).collect();
        let brokers = local_brokers(&config, &management).await;
        let mut environment = Self {
            target: TARGET.into(),
            workers: Vec::new(),
            named_workers: Vec::new(),
            brokers,
            own: Some((management, name.to_owned())),
            config,
        };
        // whatever fails from here on, the virtual host goes
        match environment.furnish(program, workers).await {
            Ok(()) => Ok(environment),
            Err(error) => {
                environment.leave().await;
                Err(error)
            }
        }
    }

    /// The virtual host of the configuration, with the workers that run there; `workers` are the ids of
    /// those whose CPU time is told.
    pub async fn in_place(config: &Config, workers: Vec<u32>) -> Result<Self, EnvironmentError> {
        if let Some(pid) = workers.iter().find(|pid| usage::usage(**pid).is_none()) {
            return Err(EnvironmentError::NoProcess(*pid));
        }
        let connection = Connection::open(&config.broker, "dormouse bench").await?;
        let queue = Names::of(config).due();
        let due = Inspector::open(&connection).await?.queue(&queue).await?;
        if due.is_none_or(|due| due.consumers == 0) {
            return Err(EnvironmentError::NoWorker { queue });
        }
        let target = format!("{TARGET}-{}", uuid::Uuid::now_v7().simple());
        let mut queue = target_queue(&target);
        let expires_ms = TARGET_EXPIRES.as_millis() as i64;
        queue.arguments.insert("x-expires", Argument::Number(expires_ms));
        declare(&connection, &only(queue)).await?;
        connection.close().await;
        let brokers = match Management::of(&config.broker) {
            Ok(management) => local_brokers(config, &management).await,
            Err(_) => Vec::new(),
        };
        Ok(Self {
            config: config.clone(),
            target,
            workers: Vec::new(),
            named_workers: workers,
            brokers,
            own: None,
        })
    }

    async fn furnish(
        &mut self,
        program: &Path,
        workers: &[&[String]],
    ) -> Result<(), EnvironmentError> {
        let connection = Connection::open(&self.config.broker, "dormouse bench").await?;
        declare(&connection, &only(target_queue(&self.target))).await?;
        connection.close().await;
        for arguments in workers {
            let uri = self.config.broker.uri[0].expose();
            self.workers.push(worker(program, uri, arguments).await?);
        }
        if self.config.commands.enabled && !self.workers.is_empty() {
            self.until_one_decides().await;
        }
        Ok(())
    }

    /// Until a worker has begun the log of commands: what has a key waits for that once, and in no measurement.
    async fn until_one_decides(&self) {
        let deadline = Instant::now() + NODES_DEADLINE;
        while Instant::now() < deadline {
            for worker in &self.workers {
                if worker.decides().await {
                    return;
                }
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Declares what a subject needs besides.
    pub async fn prepare(&self, subject: &Subject) -> Result<(), EnvironmentError> {
        let connection = Connection::open(&self.config.broker, "dormouse bench").await?;
        declare(&connection, &subject.topology(&self.target)).await?;
        connection.close().await;
        Ok(())
    }

    /// Processes on this machine.
    pub fn watched(&self) -> Watched {
        let own = self.workers.iter().map(WorkerProcess::pid);
        let workers = own.chain(self.named_workers.iter().copied()).collect();
        Watched { brokers: self.brokers.clone(), workers }
    }

    /// Stops the workers and deletes the virtual host, as far as that is possible.
    pub async fn leave(self) -> Option<String> {
        let mut problem = None;
        for worker in self.workers {
            if let Err(error) = worker.stop().await {
                problem = Some(error.to_string());
            }
        }
        if let Some((management, name)) = self.own
            && let Err(error) = management.delete_vhost(&name).await
        {
            problem = Some(format!("the virtual host {name:?} is still there: {error}"));
        }
        problem
    }
}

/// `program run` on the broker at `uri` with further `arguments`, when it is ready.
pub async fn worker(
    program: &Path,
    uri: &str,
    arguments: &[String],
) -> Result<WorkerProcess, WorkerProcessError> {
    let mut worker = spawn(program, uri, arguments)?;
    worker.until_ready().await?;
    Ok(worker)
}

/// The same, and not waited for.
pub fn spawn(
    program: &Path,
    uri: &str,
    arguments: &[String],
) -> Result<WorkerProcess, WorkerProcessError> {
    let mut command = Command::new(program);
    command.args(["run", "--uri", uri]).args(arguments).stdout(Stdio::null());
    WorkerProcess::spawn(command)
}

fn only(queue: dormouse_core::topology::Queue) -> Topology {
    Topology { queues: vec![queue], ..Topology::default() }
}

/// The broker's Erlang VMs, if they run on this machine and we may see them.
async fn local_brokers(config: &Config, management: &Management) -> Vec<u32> {
    if !config.broker.uri.iter().all(Uri::is_loopback) {
        return Vec::new();
    }
    let deadline = Instant::now() + NODES_DEADLINE;
    loop {
        let pids = management.node_pids().await.unwrap_or_default();
        let is_beam = |pid: &u32| usage::name(*pid).is_some_and(|name| name.starts_with("beam"));
        // in a container the id is another one outside
        let local: Vec<u32> = pids.iter().copied().filter(is_beam).collect();
        if !pids.is_empty() || Instant::now() > deadline {
            return local;
        }
        sleep(POLL_INTERVAL).await;
    }
}
