//! Where the broker's programs are on this machine, and how to run them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::NodeError;

/// The image for machines with Docker and without a RabbitMQ package.
const DOCKER_IMAGE: &str = "rabbitmq:4-management";

/// A Docker client may wait for a remote engine for minutes; a local one answers in milliseconds.
const DOCKER_DEADLINE: Duration = Duration::from_secs(10);

/// Debian's layout, also inside a debootstrapped root.
const PROGRAMS: &str = "usr/lib/rabbitmq/bin";
const VERSIONS: &str = "usr/lib/rabbitmq/lib";

/// Where a chrooted node sees its directory. The mounts live in a namespace of the node's own, so that
/// they vanish with it.
const DIRECTORY_IN_CHROOT: &str = "/mnt";
const ENTER_CHROOT: &str = r#"set -e; root=$1; directory=$2; shift 2
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$directory" "$root/mnt"
exec chroot "$root" "$@""#;

/// A RabbitMQ that this machine can run.
#[derive(Debug, Clone)]
pub struct Installation {
    place: Place,
    version: String,
}

#[derive(Debug, Clone)]
enum Place {
    /// A package of this machine, run as the current user.
    System,
    /// A directory that holds a whole system.
    Chroot(PathBuf),
    Docker,
}

impl Installation {
    /// The installation in `wanted` (a debootstrapped root; `/` is this machine), or else the first one there is:
    /// this machine's package, then Docker.
    pub fn find(wanted: Option<&Path>) -> Result<Installation, NodeError> {
        if let Some(root) = wanted {
            return Installation::in_root(root);
        }
        match Installation::in_root(Path::new("/")) {
            Err(NodeError::NotABroker { .. }) if docker_answers() => {
                Ok(Installation { place: Place::Docker, version: "4".into() })
            }
            Err(NodeError::NotABroker { .. }) => Err(NodeError::NotInstalled),
            found => found,
        }
    }

    /// The version, such as `3.10.8`. Under Docker only the major one is known before the node runs.
    pub fn version(&self) -> &str {
        &self.version
    }

    fn in_root(root: &Path) -> Result<Installation, NodeError> {
        let not_a_broker = || NodeError::NotABroker { root: root.to_path_buf() };
        let root = root.canonicalize().map_err(|_| not_a_broker())?;
        // `symlink_metadata`, because the links of a root may point to paths that only exist inside it.
        fs::symlink_metadata(root.join(PROGRAMS).join("rabbitmq-server"))
            .map_err(|_| not_a_broker())?;
        let version = installed_version(&root.join(VERSIONS)).ok_or_else(not_a_broker)?;
        if root == Path::new("/") {
            return Ok(Installation { place: Place::System, version });
        }
        if !is_root() {
            return Err(NodeError::NeedsRoot { root });
        }
        Ok(Installation { place: Place::Chroot(root), version })
    }

    /// The Docker image to run instead of programs of this machine.
    pub(super) fn image(&self) -> Option<&'static str> {
        match self.place {
            Place::Docker => Some(DOCKER_IMAGE),
            Place::System | Place::Chroot(_) => None,
        }
    }

    /// The node's directory as the broker's programs see it.
    pub fn inside(&self, directory: &Path) -> PathBuf {
        match self.place {
            Place::System | Place::Docker => directory.to_path_buf(),
            Place::Chroot(_) => PathBuf::from(DIRECTORY_IN_CHROOT),
        }
    }

    /// `rabbitmq-server` or `rabbitmqctl`, with no environment. Every step execs the next one, so the process id
    /// is that of the Erlang VM in the end.
    pub(super) fn program(&self, name: &str, directory: &Path) -> Command {
        let program = Path::new("/").join(PROGRAMS).join(name);
        let mut command = match &self.place {
            Place::System | Place::Docker => Command::new(program),
            Place::Chroot(root) => {
                let mut command = Command::new("/usr/bin/unshare");
                command.args([
                    "--mount",
                    "--propagation",
                    "private",
                    "--",
                    "/bin/sh",
                    "-c",
                    ENTER_CHROOT,
                    "chroot",
                ]);
                command.args([root.as_os_str(), directory.as_os_str(), program.as_os_str()]);
                command
            }
        };
        command.env_clear();
        command
    }

    /// Erlang's port mapper, in the foreground.
    pub(super) fn epmd(&self, port: u16) -> Command {
        let mut command = match &self.place {
            Place::System | Place::Docker => Command::new("/usr/bin/epmd"),
            Place::Chroot(root) => {
                let mut command = Command::new("/usr/sbin/chroot");
                command.args([root.as_os_str(), OsStr::new("/usr/bin/epmd")]);
                command
            }
        };
        command.env_clear().args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        command
    }
}

/// `3.10.8` from `rabbitmq_server-3.10.8`.
fn installed_version(versions: &Path) -> Option<String> {
    fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| name.strip_prefix("rabbitmq_server-").map(str::to_owned))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn docker_answers() -> bool {
    let Ok(mut docker) = Command::new("docker")
        .args(["info", "--format", "{{.ServerVersion}}"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let deadline = Instant::now() + DOCKER_DEADLINE;
    while Instant::now() < deadline {
        match docker.try_wait() {
            Ok(Some(status)) => return status.success(),
            #[expect(clippy::disallowed_methods, reason = "the command has nothing else to do")]
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => break,
        }
    }
    let _ = docker.kill();
    let _ = docker.wait();
    false
}
