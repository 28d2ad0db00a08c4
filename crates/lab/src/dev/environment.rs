//! What a node is told: its options, and the files and variables made of them.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ports::Ports;
use super::{Epmd, NodeError};

/// How to run a node. Only the directory is needed.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Holds everything the node writes, and outlives it: a later node in the same directory finds its data again.
    /// Created if missing. (Under Docker the data lives in the container and ends with the `Node`.)
    pub directory: PathBuf,
    /// The Erlang node name, such as `a@localhost`. Default: a unique one, kept in the directory.
    pub name: Option<String>,
    /// The AMQP port on 127.0.0.1. Default: a free one.
    pub amqp_port: Option<u16>,
    /// The management port on 127.0.0.1. Default: a free one.
    pub management_port: Option<u16>,
    /// Lines for `rabbitmq.conf`, after Dormouse's own.
    pub config: Vec<String>,
    /// `advanced.config`, in Erlang's words. Default: `[].`
    pub advanced_config: Option<String>,
    /// Environment variables for the broker, after Dormouse's own.
    pub environment: Vec<(String, String)>,
    /// For the nodes of one cluster: the epmd they share. Default: an own one. Not under Docker.
    pub epmd: Option<Arc<Epmd>>,
    /// For the nodes of one cluster: the Erlang cookie they share. Default: a random one. Not under Docker.
    pub cookie: Option<String>,
}

impl NodeOptions {
    /// The defaults, in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> NodeOptions {
        NodeOptions {
            directory: directory.into(),
            name: None,
            amqp_port: None,
            management_port: None,
            config: Vec::new(),
            advanced_config: None,
            environment: Vec::new(),
            epmd: None,
            cookie: None,
        }
    }

    /// With the timeout that docs/operations.md advises: what a queue could not pass on to the next one,
    /// because that was not there yet, is passed on after 5 s. RabbitMQ's default is 3 minutes.
    pub fn passing_on_soon(mut self) -> NodeOptions {
        self.advanced_config = Some(
            "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n".to_owned(),
        );
        self
    }
}

const DEFAULT_CONFIG: &str = "\
# A development node must not stop publishers because a laptop's disk is nearly full.
disk_free_limit.absolute = 50MB
# The same on every version (the default is 0.4 before 4.0 and 0.6 since).
vm_memory_high_watermark.relative = 0.4
# Queue depths in the management API are at most a second old (default: five).
collect_statistics_interval = 1000
";

/// Erlang must not ask DNS for `localhost`: a minimal chroot has no /etc/hosts.
const INETRC: &str = "{host, {127,0,0,1}, [\"localhost\"]}.\n{lookup, [file, native]}.\n";

const PLUGINS: &str = "[rabbitmq_management,rabbitmq_prometheus].\n";

/// Writes the files that the broker reads. A cookie and a name that are there already are kept.
pub(super) fn write_files(
    options: &NodeOptions,
    ports: &Ports,
    in_container: bool,
) -> Result<(), NodeError> {
    let directory = &options.directory;
    for folder in ["home", "data", "log", "conf.d", "schema", "generated"] {
        let path = directory.join(folder);
        fs::create_dir_all(&path).map_err(NodeError::file(path))?;
    }
    let mut config = String::from(DEFAULT_CONFIG);
    if !in_container {
        let Ports { management, prometheus, .. } = ports;
        config.push_str(&format!(
            "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management}\n"
        ));
        config.push_str(&format!(
            "prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {prometheus}\n"
        ));
    }
    for line in &options.config {
        config.push_str(line);
        config.push('\n');
    }
    write(&directory.join("rabbitmq.conf"), &config)?;
    write(&directory.join("enabled_plugins"), PLUGINS)?;
    // Without one of our own, the scripts would read the system's.
    write(&directory.join("rabbitmq-env.conf"), "")?;
    let advanced = options.advanced_config.as_deref().unwrap_or("[].\n");
    write(&directory.join("advanced.config"), advanced)?;
    write(&directory.join("inetrc"), INETRC)?;
    write_cookie(&directory.join("home/.erlang.cookie"), options.cookie.as_deref())
}

/// The node's name: the wanted one, or the one that the data in the directory belongs to, or a new one.
pub(super) fn node_name(options: &NodeOptions) -> Result<String, NodeError> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let path = options.directory.join("node-name");
    match fs::read_to_string(&path) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(_) => {
            let random = uuid::Uuid::now_v7().as_u128() as u32;
            let name = format!("dormouse-{random:08x}@localhost");
            write(&path, &name).map(|()| name)
        }
    }
}

/// Every variable that the broker and its tools see; nothing is inherited, so nothing of a system broker leaks in.
/// `inside` is the node's directory as they see it.
pub(super) fn variables(
    name: &str,
    ports: &Ports,
    epmd_port: u16,
    inside: &Path,
) -> Vec<(&'static str, String)> {
    const LOOPBACK_DISTRIBUTION: &str = "-kernel inet_dist_use_interface {127,0,0,1}";
    let path = |name: &str| inside.join(name).display().to_string();
    vec![
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("LANG", "C.UTF-8".into()),
        ("HOME", path("home")),
        ("ERL_INETRC", path("inetrc")),
        ("ERL_CRASH_DUMP", path("log/erl_crash.dump")),
        ("ERL_EPMD_PORT", epmd_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODENAME", name.into()),
        ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
        ("RABBITMQ_NODE_PORT", ports.amqp.to_string()),
        ("RABBITMQ_DIST_PORT", ports.distribution.to_string()),
        ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONFIG_FILES", path("conf.d")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_SCHEMA_DIR", path("schema")),
        ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
        // To the standard output, which goes to one file with what the VM itself says when it dies.
        ("RABBITMQ_LOGS", "-".into()),
        // Makes rabbitmq-server exec the Erlang VM, as in the official Docker image, so that our child *is* the VM.
        ("RUNNING_UNDER_SYSTEMD", "true".into()),
        // RabbitMQ binds Erlang's first scheduler to the first core, where a node that does little does it: several
        // nodes on one machine would share that core, and leave the others idle. Unbound, as they are where
        // Erlang cannot read which cores there are.
        ("RABBITMQ_SCHEDULER_BIND_TYPE", "u".into()),
        (
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            format!("-start_epmd false {LOOPBACK_DISTRIBUTION}"),
        ),
        ("RABBITMQ_CTL_ERL_ARGS", format!("-start_epmd false {LOOPBACK_DISTRIBUTION}")),
        ("RABBITMQ_CTL_DIST_PORT_MIN", ports.distribution.to_string()),
        ("RABBITMQ_CTL_DIST_PORT_MAX", (ports.distribution + 100).to_string()),
    ]
}

fn write_cookie(path: &Path, wanted: Option<&str>) -> Result<(), NodeError> {
    let kept = fs::read_to_string(path).ok();
    if kept.is_some() && (wanted.is_none() || wanted == kept.as_deref()) {
        return Ok(());
    }
    let cookie = wanted.map_or_else(|| uuid::Uuid::now_v7().simple().to_string(), str::to_owned);
    // Erlang refuses a cookie file that others may read, and a file that may only be read is not written to.
    let _ = fs::remove_file(path);
    let file = File::options().write(true).create_new(true).mode(0o400).open(path);
    file.and_then(|mut file| file.write_all(cookie.as_bytes())).map_err(NodeError::file(path))
}

fn write(path: &Path, text: &str) -> Result<(), NodeError> {
    fs::write(path, text).map_err(NodeError::file(path))
}
