//! `amqps://` with a certificate authority of one's own, and a client certificate.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use dormouse::amqp::Connection;
use dormouse::config::{Config, Uri};
use dormouse::dev::{Installation, Node, NodeOptions};
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

async fn node(
    folder: &Path,
    name: &str,
    ca: &Path,
    (cert, key): (PathBuf, PathBuf),
) -> (Node, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = NodeOptions::new(folder.join(name));
    options.config = vec![
        format!("listeners.ssl.1 = 127.0.0.1:{port}"),
        format!("ssl_options.cacertfile = {}", ca.display()),
        format!("ssl_options.certfile = {}", cert.display()),
        format!("ssl_options.keyfile = {}", key.display()),
        "ssl_options.verify = verify_peer".into(),
        "ssl_options.fail_if_no_peer_cert = true".into(),
    ];
    let node = Node::start(&Installation::find(None).unwrap(), options).await.unwrap();
    (node, format!("amqps://guest:guest@127.0.0.1:{port}/%2f"))
}

#[tokio::test(flavor = "multi_thread")]
async fn amqps_works_with_an_own_authority_and_a_client_certificate() {
    let folder =
        std::env::temp_dir().join(format!("dormouse-tls-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let authority = Authority::new("Dormouse test CA");
    let ca = authority.write(&folder, "ca.pem");
    let (mut server, uri) =
        node(&folder, "node", &ca, authority.issue(&folder, "server", false)).await;
    let (cert, key) = authority.issue(&folder, "client", false);
    let mut config = Config::default();
    config.broker.uri = vec![Uri::new(uri)];
    config.broker.ca_file = Some(ca.clone());
    config.broker.cert_file = Some(cert);
    config.broker.key_file = Some(key);
    config.topology.max_delay = std::time::Duration::from_secs(60);
    config.http.listen = None;
    let open = async |config: &Config| {
        Connection::open(&config.broker, "test").await.map(drop).map_err(|error| error.to_string())
    };

    open(&config).await.unwrap();
    let worker = crate::support::Worker::start(&config).await;
    worker.stop().await;

    let mut without = config.clone();
    (without.broker.cert_file, without.broker.key_file) = (None, None);
    let refused = open(&without).await.unwrap_err();
    println!("no client certificate: {refused}");
    assert!(
        refused.contains("amqps://guest:***@127.0.0.1") && refused.contains("broker.cert_file"),
        "{refused}"
    );

    let mut wrong = config.clone();
    wrong.broker.ca_file = Some(Authority::new("Somebody else").write(&folder, "other-ca.pem"));
    let refused = open(&wrong).await.unwrap_err();
    println!("wrong authority: {refused}");
    assert!(refused.contains("broker.ca_file"), "{refused}");
    server.stop().await.unwrap();

    let (mut expired, uri) =
        node(&folder, "expired", &ca, authority.issue(&folder, "old", true)).await;
    config.broker.uri = vec![Uri::new(uri)];
    let refused = open(&config).await.unwrap_err();
    println!("expired certificate: {refused}");
    assert!(refused.contains("certificate expired"), "{refused}");
    expired.stop().await.unwrap();
    let _ = std::fs::remove_dir_all(&folder);
}
