//! Credentials reach no log, metric, error or listing: a worker and the commands run with secret ones
//! through success, refusals and a lost broker, and all that they say is searched.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;
use base64::Engine;
use dormouse::config::Uri;

/// Needs percent-encoding, so that both spellings would be seen.
const PASSWORD: &str = "s3cr3t-w@rd/ü";
const ENCODED: &str = "s3cr3t-w%40rd%2F%C3%BC";

struct Site {
    broker: Broker,
    user: String,
    folder: PathBuf,
    said: String,
}

impl Site {
    fn uri(&self, password: &str) -> String {
        self.broker.uri_as(&self.user, password)
    }

    fn management_uri(&self, password: &str) -> String {
        let uri = std::env::var("DORMOUSE_MANAGEMENT_URI").unwrap();
        let (_, host) = uri.rsplit_once('@').unwrap_or_else(|| uri.split_once("://").unwrap());
        format!("http://{}:{password}@{host}", self.user)
    }

    fn dormouse(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
        command.env_clear().stdin(Stdio::null());
        for setting in [
            "topology.unit=100ms",
            "topology.radix=4",
            "topology.max_delay=1m",
            "attempts.max_backoff=10s",
            "log.filter=trace",
        ] {
            command.args(["--set", setting]);
        }
        command.args(arguments);
        command
    }

    /// Runs a command to its end, and keeps what it says.
    fn run(&mut self, arguments: &[&str]) -> String {
        let output = self.dormouse(arguments).output().unwrap();
        let said = crate::operator::shown(&output);
        assert!(!said.is_empty(), "{arguments:?}");
        self.said += &said;
        said
    }

    /// Runs a worker until it has said `marker`, and keeps what it says and, if it still serves them then,
    /// its metrics: some of these workers end by themselves.
    async fn worker(&mut self, uri: &str, marker: &str, settings: &[&str]) {
        let log = self.folder.join("log");
        let mut arguments = vec!["run", "--uri", uri, "--set", "http.listen=127.0.0.1:0"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let file = std::fs::File::create(&log).unwrap();
        let mut child = self
            .dormouse(&arguments)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let so_far = || std::fs::read_to_string(&log).unwrap();
        let start = Instant::now();
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            let said = so_far();
            if said.contains(marker)
                && let Some(metrics) = metrics(&said).await
            {
                assert!(metrics.contains("dormouse_"), "{metrics}");
                self.said += &metrics;
                let pid = child.id().to_string();
                assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
                break;
            }
            assert!(start.elapsed() < DEADLINE, "no {marker:?} or no metrics: {said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < DEADLINE, "it does not end: {}", so_far());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let said = so_far();
        assert!(said.contains(marker), "no {marker:?}: {said}");
        self.said += &said;
    }

    fn check(&self) {
        let both = format!("{}:{PASSWORD}", self.user);
        let basic = base64::engine::general_purpose::STANDARD.encode(both);
        let plain = base64::engine::general_purpose::STANDARD
            .encode(format!("\0{}\0{PASSWORD}", self.user));
        for secret in ["s3cr3t", PASSWORD, ENCODED, &basic, &plain] {
            let found = self.said.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{secret}");
        }
        assert!(self.said.contains(&self.user), "the user is named");
        assert!(self.said.contains("***"), "and the password masked");
    }
}

/// The metrics of the worker that has `said` so; none when it has ended meanwhile.
async fn metrics(said: &str) -> Option<String> {
    let serving = said.lines().find(|line| line.contains("serving /metrics"))?;
    let (_, address) = serving.split_once("address=")?;
    let uri = format!("http://{}/metrics", address.split_whitespace().next()?);
    let answer = tokio::task::spawn_blocking(move || {
        ureq::get(uri).call().ok()?.body_mut().read_to_string().ok()
    });
    answer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_ever_said() {
    let broker = Broker::fresh("secrets").await;
    let user = format!("user-{}", broker.vhost);
    broker.management.put_user(&user, PASSWORD, &["management"]).await.unwrap();
    let vhost = broker.vhost.clone();
    broker.management.put_permissions(&vhost, &user, ".*", ".*", ".*").await.unwrap();
    let folder = std::env::temp_dir().join(&broker.vhost);
    std::fs::create_dir_all(&folder).unwrap();
    let mut site = Site { broker, user, folder, said: String::new() };
    let (right, wrong) = (site.uri(ENCODED), site.uri("s3cr3t-wrong"));
    let management = site.management_uri(ENCODED);

    // it works
    site.worker(&right, "running address=", &[]).await;
    assert!(site.said.contains("# TYPE dormouse_"), "its metrics are searched too");
    for arguments in [
        &["status"][..],
        &["topology", "plan"],
        &["topology", "verify"],
        &["topology", "export"],
        &["config", "show"],
        &["config", "show", "-o", "json"],
        &["config", "check"],
        &["dlq", "list"],
        &["publish", "--to", "inbox", "--delay", "1s", "a body"],
    ] {
        let known = ["--uri", &right, "--management-uri", &management];
        site.run(&[arguments, &known].concat());
    }

    // refused logins, and addresses that are none
    site.worker(&wrong, "refused", &[]).await;
    let wrong_management = site.management_uri("s3cr3t-wrong");
    for (uri, management) in [
        (&wrong, &wrong_management),
        (&right, &"ftp://user:s3cr3t@host".to_owned()),
        (&right, &"http://user:s3cr3t@host:port".to_owned()),
        (&"amqp://user:s3cr3t@host:port/x".to_owned(), &management),
        (&"amqp://user:s3cr3t w@rd@127.0.0.1".to_owned(), &management),
        (&"http://user:s3cr3t@127.0.0.1".to_owned(), &management),
        (&"user:s3cr3t@127.0.0.1".to_owned(), &management),
    ] {
        for command in [&["status"][..], &["topology", "plan"], &["config", "show"]] {
            site.run(&[command, &["--uri", uri, "--management-uri", management]].concat());
        }
    }

    // refused permissions, no broker, and no key
    let user = site.user.clone();
    site.broker.management.put_permissions(&vhost, &user, "^$", "^$", "^$").await.unwrap();
    site.worker(&right, "may not", &[]).await;
    site.run(&["status", "--uri", &right, "--management-uri", &management]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("amqp://{user}:{ENCODED}@127.0.0.1:{port}/%2f");
    site.worker(&nobody, "refused", &[]).await;
    let encrypted = nobody.replace("amqp://", "amqps://");
    let keys = ["broker.cert_file=/not/there.pem", "broker.key_file=/not/there.key"];
    site.worker(&encrypted, "/not/there", &keys).await;
    let queried = format!("{encrypted}?password=s3cr3t&frame_max=8192");
    site.run(&["config", "show", "--uri", &queried]);

    site.check();
    std::fs::remove_dir_all(&site.folder).unwrap();
    site.broker.management.delete_user(&user).await.unwrap();
    site.broker.drop_it().await;
}

/// A broker that is lost under a worker: what it says of that names no password.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_error_names_no_password() {
    for scheme in ["amqp", "amqps"] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = dormouse::config::Config::default();
        config.broker.uri =
            vec![Uri::new(format!("{scheme}://user:{ENCODED}@127.0.0.1:{port}/%2f"))];
        let refused = dormouse::amqp::Connection::open(&config.broker, "test").await;
        let error = refused.err().expect("nobody listens");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("s3cr3t") && said.contains("127.0.0.1"), "{said}");
    }
}
