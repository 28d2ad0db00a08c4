//! `amqps://` with a certificate authority of one's own, and a client certificate.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::support::{Worker, installation, until};
use dormouse::amqp::{Amqp10, Connection, RawConnection, ScanQueue};
use dormouse::config::{Config, Uri};
use dormouse::management::Management;
use dormouse::topology::Names;
use dormouse_lab::dev::{Node, NodeOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, folder: &Path, name: &str) -> PathBuf {
        write(folder, name, &self.0.pem())
    }

    /// A certificate for 127.0.0.1 and its key.
    fn issue(&self, folder: &Path, name: &str, expired: bool) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (
            write(folder, &format!("{name}.pem"), &certificate.pem()),
            write(folder, &format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// One broker for all cases: AMQP on 127.0.0.1 and 127.0.0.2, of which its certificate names the first,
/// and an expired certificate on another port. TLS is settled before a word of AMQP, so that the other
/// port is the management API's does not matter.
struct Ports {
    node: Node,
    good: u16,
    expired: u16,
}

/// The certificates are in the node's directory.
async fn node(
    directory: &Path,
    ca: &Path,
    server: (PathBuf, PathBuf),
    old: (PathBuf, PathBuf),
) -> Ports {
    let installation = installation();
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (good, expired) = (port(), port());
    let mut options = NodeOptions::new(directory);
    let inside = |file: &Path| installation.inside(directory).join(file.file_name().unwrap());
    let files = |section: &str, (cert, key): &(PathBuf, PathBuf)| {
        [
            format!("{section}.cacertfile = {}", inside(ca).display()),
            format!("{section}.certfile = {}", inside(cert).display()),
            format!("{section}.keyfile = {}", inside(key).display()),
        ]
    };
    options.config = vec![
        format!("listeners.ssl.1 = 127.0.0.1:{good}"),
        format!("listeners.ssl.2 = 127.0.0.2:{good}"),
        "ssl_options.verify = verify_peer".into(),
        "ssl_options.fail_if_no_peer_cert = true".into(),
        "auth_mechanisms.1 = PLAIN".into(),
        "auth_mechanisms.2 = EXTERNAL".into(),
        "ssl_cert_login_from = common_name".into(),
        "management.ssl.ip = 127.0.0.1".into(),
        format!("management.ssl.port = {expired}"),
    ];
    options.config.extend(files("ssl_options", &server));
    options.config.extend(files("management.ssl", &old));
    let plugins = "rabbitmq_management,rabbitmq_prometheus,rabbitmq_auth_mechanism_ssl";
    options.environment = vec![("RABBITMQ_ENABLED_PLUGINS".into(), plugins.into())];
    let node = Node::start(&installation, options).await.unwrap();
    // they begin to listen one after the other
    for address in [("127.0.0.1", good), ("127.0.0.2", good), ("127.0.0.1", expired)] {
        until("it listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    }
    Ports { node, good, expired }
}

/// In each of the ways in which a worker speaks with RabbitMQ.
async fn connects(config: &Config) {
    let connection = Connection::open(&config.broker, "test").await.unwrap();
    connection.close().await;
    RawConnection::open(&config.broker, "test").await.unwrap().close().await.unwrap();
    let watched =
        ScanQueue { queue: Names::of(config).intake(&config.delay_exchanges[0]), prefetch: 1 };
    match Amqp10::open(&config.broker, &watched).await {
        Ok(look) => look.close().await,
        Err(error) => assert!(error.to_string().contains("does not speak AMQP 1.0"), "{error}"),
    }
}

fn uri(host: &str, port: u16) -> Vec<Uri> {
    vec![Uri::new(format!("amqps://guest:guest@{host}:{port}/%2f"))]
}

/// The error of a connection that cannot be had: one line that names the broker, and no password.
async fn refused(case: &str, config: &Config) -> String {
    let error = Connection::open(&config.broker, "test").await.map(drop).unwrap_err().to_string();
    println!("{case}: {error}");
    assert!(error.contains("amqps://guest:***@127.0.0."), "{case}: {error}");
    assert!(!error.contains('\n'), "{case}: {error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn amqps_works_with_an_own_authority_and_a_client_certificate() {
    let folder =
        std::env::temp_dir().join(format!("dormouse-tls-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder).unwrap();
    let authority = Authority::new("Dormouse test CA");
    let stranger = Authority::new("Somebody else");
    let ca = authority.write(&folder, "ca.pem");
    let (server, old) =
        (authority.issue(&folder, "server", false), authority.issue(&folder, "old", true));
    let Ports { mut node, good, expired } = node(&folder, &ca, server, old).await;
    let with_client = |(cert, key): (PathBuf, PathBuf)| {
        let mut config = Config::default();
        config.broker.uri = uri("127.0.0.1", good);
        config.broker.ca_file = Some(ca.clone());
        (config.broker.cert_file, config.broker.key_file) = (Some(cert), Some(key));
        config.topology.max_delay = std::time::Duration::from_secs(60);
        config.http.listen = None;
        config
    };
    let config = with_client(authority.issue(&folder, "client", false));

    let worker = Worker::start(&config).await;
    worker.stop().await;
    connects(&config).await;

    // the user is whom the certificate names, without a password
    let management = Management::new(&node.management_uri(), None).unwrap();
    management.put_user("client", "not asked for", &[]).await.unwrap();
    management.put_permissions("/", "client", ".*", ".*", ".*").await.unwrap();
    let mut external = config.clone();
    let address = format!("amqps://127.0.0.1:{good}/%2f?auth_mechanism=external");
    external.broker.uri = vec![Uri::new(address)];
    connects(&external).await;

    let mut without = config.clone();
    (without.broker.cert_file, without.broker.key_file) = (None, None);
    let error = refused("no client certificate", &without).await;
    assert!(error.contains("broker.cert_file"), "{error}");

    let expired_client = with_client(authority.issue(&folder, "old-client", true));
    let error = refused("client certificate expired", &expired_client).await;
    assert!(error.contains("broker.cert_file"), "{error}");

    let strange_client = with_client(stranger.issue(&folder, "strange-client", false));
    let error = refused("client certificate of another authority", &strange_client).await;
    assert!(error.contains("broker.cert_file"), "{error}");

    let mut wrong = config.clone();
    wrong.broker.ca_file = Some(stranger.write(&folder, "other-ca.pem"));
    let error = refused("another authority", &wrong).await;
    assert!(error.contains("broker.ca_file"), "{error}");

    let mut elsewhere = config.clone();
    elsewhere.broker.uri = uri("127.0.0.2", good);
    let error = refused("another host", &elsewhere).await;
    assert!(error.contains("another host name than broker.uri names"), "{error}");

    let mut outdated = config.clone();
    outdated.broker.uri = uri("127.0.0.1", expired);
    let error = refused("certificate expired", &outdated).await;
    assert!(error.contains("has to be renewed"), "{error}");

    let mut mixed = config.clone();
    mixed.broker.key_file = expired_client.broker.key_file;
    let error = refused("the key of another certificate", &mixed).await;
    assert!(error.contains("broker.key_file"), "{error}");

    node.stop().await.unwrap();
    let _ = std::fs::remove_dir_all(&folder);
}
