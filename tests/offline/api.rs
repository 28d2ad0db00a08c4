//! The HTTP API without a broker: its certificate, who may connect, and what it says then.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dormouse::api::{self, Server};
use dormouse::config::{Config, Sources, Uri};
use dormouse::worker::Clock;
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

fn start(config: &Config) -> (SocketAddr, JoinSet<()>, CancellationToken) {
    let server = Server::on(TcpListener::bind("127.0.0.1:0").unwrap(), config).unwrap();
    let (address, stop, mut tasks) =
        (server.address().unwrap(), CancellationToken::new(), JoinSet::new());
    let run = api::run(config.clone(), server, Clock::default(), <_>::default(), stop.clone());
    tasks.spawn(async { run.await.unwrap() });
    (address, tasks, stop)
}

/// A certificate for 127.0.0.1 that signs itself, in two files.
fn certify(folder: &Path) -> Certificate<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), &pem).unwrap();
    Certificate::from_pem(pem.as_bytes()).unwrap()
}

/// The status, for one who trusts this certificate only.
async fn status(address: SocketAddr, trusted: &Certificate<'static>) -> Option<u16> {
    let roots = RootCerts::Specific(Arc::new(vec![trusted.clone()]));
    let agent = ureq::Agent::config_builder()
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .new_agent();
    let get = move || agent.get(format!("https://{address}/v1/openapi.json")).call();
    let got = tokio::task::spawn_blocking(get).await.unwrap();
    got.ok().map(|response| response.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_up_while_it_runs() {
    let folder = std::env::temp_dir().join(format!("api-tls-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let first = certify(&folder);
    let mut config = Config::default();
    config.api.cert_file = Some(folder.join("cert.pem"));
    config.api.key_file = Some(folder.join("key.pem"));
    let (address, mut tasks, stop) = start(&config);
    assert_eq!(status(address, &first).await, Some(200));
    let plain = ureq::get(format!("http://{address}/v1/openapi.json"));
    assert!(tokio::task::spawn_blocking(move || plain.call()).await.unwrap().is_err());
    // a half of it, as it is there while it is written, changes nothing
    std::fs::write(folder.join("cert.pem"), "-----BEGIN").unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(status(address, &first).await, Some(200));
    let (second, begun) = (certify(&folder), Instant::now());
    while status(address, &second).await != Some(200) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the new one is not served");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(status(address, &first).await, None);
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_it_says_so_and_stops_in_order() {
    let mut config = Config::default();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.broker.uri = vec![Uri::new(format!("amqp://guest:guest@{nobody}"))];
    let (address, mut tasks, stop) = start(&config);
    let asked = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let request = config.new_agent().post(format!("http://{address}/v1/messages"));
        let request = request.header("authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=");
        let mut response = request.send(r#"{"target":{"queue":"a"},"delay":0}"#).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    };
    let (status, body) = tokio::task::spawn_blocking(asked).await.unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("urn:dormouse:problem:no-broker"), "{body}");
    assert!(!body.contains("guest:guest"), "{body}");
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

#[test]
fn passwords_do_not_go_over_a_network_as_they_are() {
    let load = |settings: &[(&str, &str)]| {
        let given = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources = Sources { overrides: given.collect(), ..Sources::default() };
        dormouse::config::load(sources).map(|_| ()).map_err(|faults| faults.to_string())
    };
    let (api, far) = (("service.roles", "worker,api"), ("api.listen", "0.0.0.0:15791"));
    assert_eq!(load(&[api]), Ok(()));
    assert_eq!(load(&[far]), Ok(()), "nobody listens there");
    let fault = load(&[api, far]).unwrap_err();
    assert!(fault.contains("api.listen") && fault.contains("api.cert_file"), "{fault}");
    assert_eq!(load(&[api, far, ("api.trusted_proxies", "10.0.0.0/8")]), Ok(()));
    for (wrong, said) in [
        (("service.roles", "worker,worker"), "twice"),
        (("service.roles", "web"), "is no role"),
        (("service.roles", ""), "must be some of"),
        (("api.trusted_proxies", "10.0.0.0/64"), "network"),
        (("api.cert_file", "Cargo.toml"), "api.key_file"),
        (("api.tokens_file", "no/such/file"), "cannot be read"),
        (("console.base_path", "dormouse/"), "is no path"),
        (("console.idle", "1s"), "must be a duration"),
    ] {
        let fault = load(&[wrong]).unwrap_err();
        assert!(fault.contains(said), "{fault}");
    }
    // the console takes passwords, too
    for role in ["worker,api", "console"] {
        let role = ("service.roles", role);
        assert!(load(&[role, ("api.listen", "")]).unwrap_err().contains("needs it"));
        assert!(load(&[role, far]).unwrap_err().contains("api.cert_file"));
    }
    assert_eq!(load(&[("console.base_path", "/dormouse")]), Ok(()));
    // a proxy logs people in if only it can, and if it is said what they may
    let login = [
        ("console.proxy_user_header", "Remote-User"),
        ("console.proxy_password_file", "Cargo.toml"),
        ("console.proxy_look", "user:.*"),
        ("api.trusted_proxies", "127.0.0.1"),
    ];
    assert_eq!(load(&login), Ok(()));
    for (at, said) in
        ["of no use", "give console.proxy_password_file", "lets nobody in", "of nobody"]
            .into_iter()
            .enumerate()
    {
        let without: Vec<_> = login.iter().copied().filter(|key| key.0 != login[at].0).collect();
        let fault = load(&without).unwrap_err();
        let fault = fault.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(fault.contains(said), "{fault}");
    }
    for (wrong, said) in [
        (("console.proxy_user_header", "Cookie"), "no name of a header"),
        (("console.proxy_groups_header", "remote-user"), "header of the user"),
        (("console.proxy_act", "ops"), "begins with user: or group:"),
        (("console.proxy_act", "group:("), "begins with user: or group:"),
    ] {
        let mut login: Vec<_> = login.iter().copied().filter(|key| key.0 != wrong.0).collect();
        login.push(wrong);
        let fault = load(&login).unwrap_err();
        let fault = fault.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(fault.contains(said), "{fault}");
    }
}
