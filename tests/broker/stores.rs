//! Redis and PostgreSQL servers of a test's own, from Debian's packages, which a test can kill.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::support::until;

/// `scripts/get-stores.sh` could not install them, and said so: only then a test may be skipped.
pub fn skipped() -> bool {
    let skipped = std::env::var_os("DORMOUSE_TEST_NO_STORES").is_some();
    if skipped {
        println!("skipped: no Redis or PostgreSQL could be had, as scripts/get-stores.sh said");
    }
    skipped
}

/// Starts a program that ends with this test, however it ends.
struct Program {
    child: Option<Child>,
    directory: PathBuf,
    port: u16,
    /// What ends it at once and leaves nothing behind.
    end: &'static str,
}

impl Program {
    fn new(name: &str, end: &'static str) -> Self {
        let unique = format!("dormouse-{name}-{}", uuid::Uuid::now_v7().simple());
        let directory = std::env::temp_dir().join(unique);
        fs::create_dir(&directory).expect("a folder");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        Self { child: None, directory, port, end }
    }

    fn start(&mut self, mut command: Command) {
        let log = fs::File::create(self.directory.join("log")).expect("a log");
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("a log")).stdout(log);
        let missing = "no such program: run scripts/get-stores.sh";
        self.child = Some(command.spawn().expect(missing));
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill");
        assert!(sent.success(), "no {signal} for {pid}");
    }

    fn end(&mut self, signal: &str) {
        if self.child.is_some() {
            self.signal(signal);
            self.child.take().expect("it runs").wait().expect("it ends");
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // it may have ended by itself, and then the test has failed over that
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-s", "CONT", &pid]).stderr(Stdio::null()).status();
            let _ =
                Command::new("kill").args(["-s", self.end, &pid]).stderr(Stdio::null()).status();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a program that gets a signal when this thread ends.
fn ending_with_us(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command
}

/// It writes each change to disk before it answers, so that a kill loses nothing.
pub struct RedisServer(Program);

impl RedisServer {
    pub async fn start() -> Self {
        let mut server = Self(Program::new("redis", "KILL"));
        server.start_again().await;
        server
    }

    pub async fn start_again(&mut self) {
        let mut command = ending_with_us("KILL");
        command.args(["redis-server", "--bind", "127.0.0.1", "--port", &self.0.port.to_string()]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--dir").arg(&self.0.directory);
        self.0.start(command);
        let client = redis::Client::open(self.uri()).expect("an address");
        until("Redis answers", async || {
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                return false;
            };
            redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
        })
        .await;
    }

    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.0.port)
    }

    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.uri()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("a connection")
    }

    /// Makes it a replica of another, or a master.
    pub async fn replicate(&self, master: Option<&RedisServer>) {
        let mut command = redis::cmd("REPLICAOF");
        match master {
            Some(master) => command.arg("127.0.0.1").arg(master.0.port),
            None => command.arg("NO").arg("ONE"),
        };
        let done: String = command.query_async(&mut self.connect().await).await.expect("an answer");
        assert_eq!(done, "OK");
    }

    pub fn kill(&mut self) {
        self.0.end("KILL");
    }

    /// It keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.0.signal("STOP");
    }

    pub fn go_on(&self) {
        self.0.signal("CONT");
    }
}

/// An address that leads to one server or another, as a name or a virtual IP that a failover moves. What is
/// connected stays connected to where it was.
pub struct MovingAddress {
    port: u16,
    leads_to: Arc<AtomicU16>,
    _forwarding: AbortOnDropHandle<()>,
}

impl MovingAddress {
    pub async fn to(server: &RedisServer) -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let leads_to = Arc::new(AtomicU16::new(server.0.port));
        let target = leads_to.clone();
        let forwarding = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let port = target.load(Ordering::Relaxed);
                connections.spawn(async move {
                    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
                    let Ok(mut server) = connected else { return };
                    // ends with either side
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, leads_to, _forwarding: AbortOnDropHandle::new(forwarding) }
    }

    pub fn move_to(&self, server: &RedisServer) {
        self.leads_to.store(server.0.port, Ordering::Relaxed);
    }

    pub fn uri(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

/// As the user `postgres` if this is root, which PostgreSQL refuses to run as.
pub struct PostgresServer {
    program: Program,
    bin: PathBuf,
    further: Vec<String>,
}

impl PostgresServer {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With a certificate and its key, PEM: it takes encrypted connections too.
    pub async fn start_with(identity: Option<[&str; 2]>) -> Self {
        let (program, bin) = (Program::new("postgres", "QUIT"), newest_postgres());
        let mut server = Self { program, bin, further: Vec::new() };
        if is_root() {
            let (user, group) = (id(&["-u", "postgres"]), id(&["-g", "postgres"]));
            chown(&server.program.directory, Some(user), Some(group)).expect("chown");
        }
        let mut initdb = server.command("initdb");
        initdb.args(["--username", "postgres", "--auth", "trust", "--encoding", "UTF8"]);
        initdb.args(["--locale", "C", "--no-sync", "--pgdata"]).arg(server.data());
        let made = initdb.output().expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for (name, pem) in
            ["server.crt", "server.key"].into_iter().zip(identity.into_iter().flatten())
        {
            let file = server.data().join(name);
            fs::write(&file, pem).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
            if is_root() {
                chown(&file, Some(id(&["-u", "postgres"])), None).expect("chown");
            }
            server.further = vec!["-c".into(), "ssl=on".into()];
        }
        server.start_again().await;
        server
    }

    pub async fn start_again(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).args(["-p", &self.program.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        // a killed server loses nothing that it gave to the kernel
        command.args(["-c", "fsync=off", "-c", "max_connections=60"]);
        command.args(&self.further);
        self.program.start(command);
        let answers = async || self.config().connect(tokio_postgres::NoTls).await.is_ok();
        until(&format!("PostgreSQL answers: {}", self.program.log()), answers).await;
    }

    pub fn config(&self) -> tokio_postgres::Config {
        self.uri().parse().expect("an address")
    }

    pub fn uri(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.program.port)
    }

    /// Ends all its processes at once, as a crash does.
    pub fn kill(&mut self) {
        self.program.end("QUIT");
    }

    pub async fn sql(&self, statement: &str) {
        let (client, connection) = self.connect().await;
        client.batch_execute(statement).await.expect("done");
        drop(client);
        connection.await.expect("no panic");
    }

    /// Rows of a table, or of whatever may stand after `FROM`.
    pub async fn count(&self, from: &str) -> i64 {
        let (client, connection) = self.connect().await;
        let counted = client.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await;
        drop(client);
        connection.await.expect("no panic");
        counted.expect("a number").get(0)
    }

    async fn connect(&self) -> (tokio_postgres::Client, JoinHandle<()>) {
        let connected = self.config().connect(tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("a connection");
        (client, tokio::spawn(async move { connection.await.expect("it ends in order") }))
    }

    fn data(&self) -> PathBuf {
        self.program.directory.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = ending_with_us("QUIT");
        if is_root() {
            command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
        }
        command.arg(self.bin.join(program)).current_dir("/");
        command
    }
}

/// Debian keeps each version's programs in a folder of its own.
fn newest_postgres() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path))
        .expect("no PostgreSQL: run scripts/get-stores.sh")
        .join("bin")
}

fn is_root() -> bool {
    id(&["-u"]) == 0
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}
