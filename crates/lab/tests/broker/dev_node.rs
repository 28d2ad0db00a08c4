//! A private node answers, keeps what is durable, and leaves no process behind, however it ends.
//!
//! `DORMOUSE_BROKER=.dormouse/brokers/4.3` (a root that scripts/get-rabbitmq.sh makes) runs the same against another version.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dormouse::config::Config;
use dormouse_lab::dev::{Installation, Node, NodeError, NodeOptions};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};

use crate::support::{DEADLINE, Program};

const LAB: &str = env!("CARGO_BIN_EXE_dormouse-lab");
/// What Erlang starts beside itself ends when a pipe closes, a moment after the VM.
const GONE_DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_nodes_side_by_side_answer_and_leave_no_process() {
    let (first, second) = tokio::join!(start("first"), start("second"));
    let (mut first, second) = (first.unwrap(), second.unwrap());

    for node in [&first, &second] {
        let traces = Traces::of(node);
        assert_eq!(
            command_name(node.pid().unwrap()),
            "beam.smp",
            "kill() has to hit the VM itself"
        );
        assert!(traces.processes().len() >= 3, "VM, watchdog and epmd: {:?}", traces.processes());
        assert!(node.version().starts_with(installation().version()), "{}", node.version());
        node.add_vhost("a/b c").await.unwrap();
        connect(&node.amqp_uri_for("a/b c"))
            .await
            .unwrap()
            .close(200, "done".into())
            .await
            .unwrap();
        node.delete_vhost("a/b c").await.unwrap();
        assert!(connect(&node.amqp_uri_for("a/b c")).await.is_err());
        let management = node.management_uri().replace("http://guest:guest@", "");
        tokio::net::TcpStream::connect(management).await.unwrap();
        assert_only_loopback(&traces);
    }
    assert_ne!(first.amqp_uri(), second.amqp_uri());
    assert!(first.ctl(&["status"]).await.unwrap().contains(first.name()));
    assert!(matches!(first.ctl(&["no_such_command"]).await, Err(NodeError::Command { .. })));

    let traces = Traces::of(&first);
    first.stop().await.unwrap();
    assert_eq!(first.pid(), None);
    traces.assert_gone();
    discard(first);

    let traces = Traces::of(&second);
    let panicked = tokio::spawn(async move {
        let _node = second;
        panic!("on purpose: a failing test drops its node");
    });
    assert!(panicked.await.is_err());
    traces.assert_gone();
    fs::remove_dir_all(directory("second")).unwrap();
}

#[tokio::test]
async fn a_killed_node_starts_again_with_its_durable_queue() {
    let mut node = start("killed").await.unwrap();
    let uri = node.amqp_uri();
    let declare = async |passive: bool| {
        let channel = connect(&uri).await?.create_channel().await?;
        let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
        channel.queue_declare("sleeps".into(), options, FieldTable::default()).await
    };
    declare(false).await.unwrap();
    // A clean restart first: on 3.10 and 4.0 a queue declared just before a SIGKILL, on a node that has just been
    // created, was sometimes gone afterwards (5 of 72 times; cause unknown). This test is about our node, not about that.
    node.restart().await.unwrap();
    declare(true).await.expect("the queue is still there after a clean restart");

    let traces = Traces::of(&node);
    println!("killed: its logs are in {}", node.log_path().parent().unwrap().display());
    node.kill();
    traces.assert_gone();
    assert!(connect(&uri).await.is_err());

    node.start_again().await.unwrap();
    declare(true).await.expect("the queue is still there, on the same port");
    assert!(matches!(node.start_again().await, Err(NodeError::AlreadyRunning)));
    let twice = Node::start(&installation(), NodeOptions::new(node.directory())).await;
    assert!(matches!(twice, Err(NodeError::DirectoryInUse { .. })));
    discard(node);
}

#[tokio::test]
async fn a_broker_that_refuses_its_configuration_says_why() {
    let mut options = NodeOptions::new(directory("refuses"));
    options.config.push("no.such.setting = 1".into());
    let error = Node::start(&installation(), options).await.unwrap_err();
    assert!(matches!(error, NodeError::Stopped { .. }));
    assert!(error.to_string().contains("no.such.setting"), "{error}");
    fs::remove_dir_all(directory("refuses")).unwrap();
}

#[test]
fn a_node_dies_with_its_owner() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "dev_node::owner_of_a_node", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("runs as ")?.1.parse::<u32>().unwrap()));
    let traces = Traces::of_pid(pid.unwrap());
    owner.kill().unwrap();
    owner.wait().unwrap();
    traces.assert_gone();
    fs::remove_dir_all(directory_of(owner.id(), "owner")).unwrap();
}

#[tokio::test]
#[ignore = "the process that a_node_dies_with_its_owner kills"]
async fn owner_of_a_node() {
    let node = start("owner").await.unwrap();
    println!("runs as {}", node.pid().unwrap());
    std::future::pending::<()>().await;
}

/// `dormouse-lab dev` where the port of its metrics is another's already: it takes a free one and says which,
/// and what it says is enough for `dormouse status`.
#[test]
fn a_second_dev_takes_another_port_and_is_found_by_its_uri_alone() {
    let port = Config::default().http.listen.unwrap();
    // if it cannot be had, another dev or a worker has it
    let _first = TcpListener::bind(port);
    let directory = directory("dev");
    let mut dev = Command::new(LAB);
    dev.args(["dev", "--directory"]).arg(&directory).args(["--set", "topology.max_delay=1h"]);
    if let Some(root) = std::env::var_os("DORMOUSE_BROKER") {
        dev.arg("--broker").arg(root);
    }
    let mut dev = Program(dev.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(dev.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut after = |name: &str| {
        let line = lines.find_map(|line| line.trim_start().strip_prefix(name).map(str::to_owned));
        line.unwrap_or_else(|| panic!("it ended without {name}")).trim().to_owned()
    };
    let uri = after("AMQP ");
    let management = after("management UI ");
    let metrics = after("worker ");
    assert!(!metrics.contains(&format!(":{}/", port.port())), "{metrics}");
    let address = metrics.trim_start_matches("http://").trim_end_matches("/metrics");
    TcpStream::connect(address).unwrap();

    // the management API tells the version
    let dormouse = Path::new(LAB).with_file_name("dormouse");
    let version = format!("\"{}", installation().version());
    let deadline = Instant::now() + DEADLINE;
    loop {
        let status =
            Command::new(&dormouse).args(["status", "--uri", &uri, "-o", "json"]).output().unwrap();
        if String::from_utf8_lossy(&status.stdout).contains(&version) {
            break;
        }
        assert!(Instant::now() < deadline, "{management}: {status:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Command::new("kill").arg(dev.0.id().to_string()).status().unwrap();
    dev.0.wait().unwrap();
    fs::remove_dir_all(directory).unwrap();
}

/// Several `dormouse-lab dev` at the same moment: each gets a port for its metrics. (They stop at the folder, which
/// is in use, so that no broker has to start.)
#[tokio::test]
async fn devs_that_start_together_each_get_a_port() {
    let node = start("together").await.unwrap();
    for _ in 0..5 {
        // one that none of them has yet
        let wanted = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap();
        let start = |_| {
            let mut dev = Command::new(LAB);
            dev.args(["dev", "--set", &format!("http.listen={wanted}"), "--directory"]);
            dev.arg(directory("together"));
            if let Some(root) = std::env::var_os("DORMOUSE_BROKER") {
                dev.arg("--broker").arg(root);
            }
            dev.stderr(Stdio::piped()).spawn().unwrap()
        };
        let together: Vec<_> = (0..6).map(start).collect();
        for dev in together {
            let output = dev.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("is in use by another node"), "{said}");
        }
    }
    discard(node);
}

async fn start(name: &str) -> Result<Node, NodeError> {
    let started = Instant::now();
    let node = Node::start(&installation(), NodeOptions::new(directory(name))).await?;
    println!("{name}: RabbitMQ {} was ready after {:?}", node.version(), started.elapsed());
    Ok(node)
}

/// Ends the node and removes what it wrote. A failed test leaves it, to be looked at.
fn discard(node: Node) {
    let directory = node.directory().to_path_buf();
    drop(node);
    fs::remove_dir_all(directory).unwrap();
}

fn installation() -> Installation {
    let wanted = std::env::var_os("DORMOUSE_BROKER").map(PathBuf::from);
    Installation::find(wanted.as_deref()).unwrap()
}

/// A directory of this run under `target/tmp`, so that two runs at once do not meet.
fn directory(name: &str) -> PathBuf {
    directory_of(std::process::id(), name)
}

fn directory_of(pid: u32, name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dev_node-{pid}-{name}"))
}

async fn connect(uri: &str) -> lapin::Result<Connection> {
    Connection::connect(uri, ConnectionProperties::default()).await
}

/// How to recognise what belongs to a node after it has gone: its process group, its name, its epmd.
#[derive(Debug)]
struct Traces {
    group: String,
    name: String,
    epmd_port: String,
}

impl Traces {
    fn of(node: &Node) -> Traces {
        Traces::of_pid(node.pid().unwrap())
    }

    fn of_pid(pid: u32) -> Traces {
        let variable = |wanted: &str| {
            let variables = read(pid, "environ");
            let found =
                variables.split('\0').find_map(|line| line.strip_prefix(wanted)?.strip_prefix('='));
            found.expect(wanted).to_owned()
        };
        let (_, group) = state_and_group(pid).unwrap();
        Traces { group, name: variable("RABBITMQ_NODENAME"), epmd_port: variable("ERL_EPMD_PORT") }
    }

    /// Every process of the node; those that have ended and only wait to be collected do not count.
    fn processes(&self) -> Vec<(u32, String)> {
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.owns(*pid)).map(|pid| (pid, command_name(pid))).collect()
    }

    fn owns(&self, pid: u32) -> bool {
        let Some((state, group)) = state_and_group(pid) else { return false };
        let is_its_epmd = read(pid, "cmdline").ends_with(&format!("-port\0{}\0", self.epmd_port));
        let has_its_name = read(pid, "environ").contains(&self.name);
        state != "Z" && (group == self.group || is_its_epmd || has_its_name)
    }

    fn assert_gone(&self) {
        let deadline = Instant::now() + GONE_DEADLINE;
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:?}", self.processes());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// No socket of the node listens on an address that other machines reach.
fn assert_only_loopback(traces: &Traces) {
    let sockets: Vec<String> = traces
        .processes()
        .iter()
        .flat_map(|(pid, _)| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten())
        .filter_map(|fd| {
            Some(
                fs::read_link(fd.ok()?.path())
                    .ok()?
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .replace(']', ""),
            )
        })
        .collect();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"]
        .map(|table| fs::read_to_string(table).unwrap_or_default());
    let listening: Vec<&str> = tables
        .iter()
        .flat_map(|table| table.lines().skip(1))
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]))
        .map(|fields| fields[1])
        .collect();
    let is_loopback = |address: &&str| {
        ["0100007F:", "00000000000000000000000001000000:"]
            .iter()
            .any(|loopback| address.starts_with(loopback))
    };
    assert!(
        listening.len() >= 5,
        "AMQP, management, prometheus, distribution, epmd: {listening:?}"
    );
    assert!(listening.iter().all(is_loopback), "{listening:?}");
}

fn read(pid: u32, file: &str) -> String {
    fs::read(format!("/proc/{pid}/{file}"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn command_name(pid: u32) -> String {
    read(pid, "comm").trim().to_owned()
}

fn state_and_group(pid: u32) -> Option<(String, String)> {
    let stat = read(pid, "stat");
    // The name, in parentheses, may hold spaces.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
}
