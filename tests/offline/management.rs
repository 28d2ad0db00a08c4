//! The management API: addresses, answers of RabbitMQ 3.10.8, 4.0.5 and 4.3.6, refusals, and a round trip
//! against the broker that `DORMOUSE_TEST_MANAGEMENT_URI` names, if it is set.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;

use dormouse::management::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What a user with that password asked, with the answers recorded in `tests/offline/data/management`. There
/// `level` is a quorum queue with both kinds of policy whose dead letters have nowhere to go, `plain`
/// a classic queue without a policy, `fresh` a queue listed within a few ms of its declare.
const RECORDED: [(&str, &str); 3] = [
    ("3.10.8", include_str!("data/management/3.10.8.json")),
    ("4.0.5", include_str!("data/management/4.0.5.json")),
    ("4.3.6", include_str!("data/management/4.3.6.json")),
];
const PASSWORD: &str = "s3cret";

fn recorded<T: DeserializeOwned>(recording: &str, part: &str) -> T {
    let mut answers: BTreeMap<String, Value> = serde_json::from_str(recording).unwrap();
    serde_json::from_value(answers.remove(part).unwrap()).unwrap()
}

fn queue(queues: &[QueueInfo], name: &str) -> QueueInfo {
    queues.iter().find(|queue| queue.name == name).unwrap().clone()
}

#[test]
fn the_management_uri_is_guessed_from_the_amqp_uri() {
    for (amqp, management) in [
        ("amqp://localhost", Some("http://guest:guest@localhost:15672")),
        ("amqp://localhost/", Some("http://guest:guest@localhost:15672")),
        ("amqp://u:p@rabbit:5672/%2F", Some("http://u:p@rabbit:15672")),
        ("amqp://u:p@rabbit:5672/a%2Fb?heartbeat=10", Some("http://u:p@rabbit:15672")),
        ("amqps://u:p@rabbit/orders", Some("https://u:p@rabbit:15671")),
        ("amqps://u:p@rabbit:5671", Some("https://u:p@rabbit:15671")),
        ("amqp://u:p%40ss%3Aw%2Frd@rabbit", Some("http://u:p%40ss%3Aw%2Frd@rabbit:15672")),
        ("amqp://u:p@ss@rabbit", Some("http://u:p%40ss@rabbit:15672")),
        ("amqp://u@rabbit", Some("http://u:@rabbit:15672")),
        ("amqp://u:p@[::1]:5672/%2F", Some("http://u:p@[::1]:15672")),
        ("amqp://u:p@10.0.0.7:25672/v", Some("http://u:p@10.0.0.7:35672")),
        ("amqp:///orders", Some("http://guest:guest@localhost:15672")),
        ("amqp://rabbit:60000", None),
        ("http://rabbit:15672", None),
        ("rabbit:5672", None),
        ("", None),
    ] {
        assert_eq!(Management::uri_from_amqp(amqp).as_deref(), management, "{amqp}");
    }
}

#[test]
fn a_guessed_uri_is_accepted_and_shows_no_password() {
    let uri = Management::uri_from_amqp("amqp://an%20app:s3cret%40@[::1]:5672/%2F").unwrap();
    let management = Management::new(&uri, None).unwrap();
    let shown = format!("{management:?} {management:#?}");
    assert!(shown.contains("http://[::1]:15672 as \"an app\""), "{shown}");
    assert!(!shown.contains("s3cret") && !shown.contains("Basic"), "{shown}");
}

#[test]
fn a_uri_that_is_not_usable_is_refused_without_repeating_it() {
    for uri in [
        "",
        "rabbit:15672",
        "ftp://u:s3cret@rabbit",
        "http://u:s3cret@",
        "http://u:s3cret@rabbit:99999",
        "http://u:s3cret%FF@rabbit",
        "u:s3cret@rabbit:15672",
    ] {
        let error = Management::new(uri, None).unwrap_err();
        assert!(matches!(error, ManagementError::InvalidUri { .. }), "{uri}: {error:?}");
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    }
}

#[test]
fn a_ca_file_has_to_hold_a_certificate() {
    for file in ["tests/offline/data/management/no-such.pem", "tests/data/management/4.3.6.json"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let error = Management::new("https://rabbit", Some(&path)).unwrap_err();
        assert!(error.to_string().contains(file) && error.to_string().contains("PEM"), "{error}");
    }
}

#[test]
fn a_quorum_queue_with_policies_reads_the_same_from_every_version() {
    for (version, recording) in RECORDED {
        let level = queue(&recorded::<Vec<QueueInfo>>(recording, "queues"), "level");
        assert_eq!(level.queue_type, "quorum", "{version}");
        assert!(level.durable, "{version}");
        assert_eq!(level.arguments["x-message-ttl"], json!(1_000), "{version}");
        assert_eq!(level.arguments["x-dead-letter-strategy"], json!("at-least-once"), "{version}");
        assert_eq!(level.policy.as_deref(), Some("blanket"), "{version}");
        assert_eq!(level.operator_policy.as_deref(), Some("limit"), "{version}");
        let merged = [("max-length", json!(1_000)), ("message-ttl", json!(300_000))];
        let merged = merged.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(level.effective_policy, Some(merged.into()), "{version}");
        assert_eq!(level.messages_ready, Some(0), "{version}");
        assert_eq!(level.messages_unacked, Some(0), "{version}");
        assert_eq!(level.dead_letter_backlog, Some(3), "{version}");
        assert_eq!(level.messages, Some(3), "{version}");
        assert_eq!(level.consumers, Some(0), "{version}");
        assert_eq!(level.leader.as_deref(), Some("rabbit@localhost"), "{version}");
        assert_eq!(level.members, level.leader.clone().map(|leader| vec![leader]), "{version}");
        assert_eq!(level.node, level.leader, "{version}");
        assert_eq!(level.state.as_deref(), Some("running"), "{version}");
        assert!(level.memory_bytes > Some(0) && level.message_bytes > Some(0), "{version}");
        // asking for columns loses nothing, and columns that we do not know disturb nothing
        assert_eq!(recorded::<QueueInfo>(recording, "level_in_full"), level, "{version}");
    }
}

#[test]
fn a_classic_queue_without_policy_has_an_empty_effective_policy_and_no_backlog() {
    for (version, recording) in RECORDED {
        let plain = queue(&recorded::<Vec<QueueInfo>>(recording, "queues"), "plain");
        assert_eq!(plain.queue_type, "classic", "{version}");
        assert_eq!((&plain.policy, &plain.operator_policy), (&None, &None), "{version}");
        assert_eq!(plain.effective_policy, Some(BTreeMap::new()), "{version}");
        assert_eq!((plain.messages, plain.dead_letter_backlog), (Some(1), None), "{version}");
        assert_eq!(plain.head_message_timestamp_seconds, Some(1_700_000_000), "{version}");
        assert_eq!(plain.leader, None, "{version}");
        assert_eq!(plain.node.as_deref(), Some("rabbit@localhost"), "{version}");
    }
}

#[test]
fn a_limit_of_queues_reads_the_same_from_every_version() {
    for (version, recording) in RECORDED {
        let limits: Vec<VhostLimits> = recorded(recording, "vhost_limits");
        assert_eq!(
            limits.iter().map(|of| of.max_queues()).collect::<Vec<_>>(),
            [Some(5)],
            "{version}"
        );
        let unlimited: VhostLimits =
            serde_json::from_value(json!({"vhost": "/", "value": {"max-queues": -1}})).unwrap();
        assert_eq!(unlimited.max_queues(), None);
    }
}

#[test]
fn what_the_statistics_do_not_know_yet_is_missing_not_zero() {
    for (version, recording) in RECORDED {
        let fresh = queue(&recorded::<Vec<QueueInfo>>(recording, "queues"), "fresh");
        let counters = [
            fresh.messages,
            fresh.messages_ready,
            fresh.messages_unacked,
            fresh.dead_letter_backlog,
            fresh.consumers,
            fresh.message_bytes,
            fresh.memory_bytes,
        ];
        assert_eq!(counters, [None; 7], "{version}");
        assert_eq!(fresh.effective_policy, None, "{version}");
    }
}

#[test]
fn the_rest_of_the_api_reads_the_same_from_every_version() {
    for (version, recording) in RECORDED {
        let overview: Overview = recorded(recording, "overview");
        assert_eq!(overview.rabbitmq_version, version);
        assert_eq!(overview.cluster_name, "rabbit@vm", "{version}");

        let exchanges: Vec<ExchangeInfo> = recorded(recording, "exchanges");
        let [default, delay, nowhere] = &exchanges[..] else { panic!("{version}: {exchanges:?}") };
        assert_eq!((default.name.as_str(), default.kind.as_str()), ("", "direct"), "{version}");
        assert_eq!((delay.kind.as_str(), delay.internal), ("topic", false), "{version}");
        assert_eq!(delay.arguments["alternate-exchange"], json!("nowhere"), "{version}");
        assert!(nowhere.internal && nowhere.durable && !nowhere.auto_delete, "{version}");

        let mut bindings: Vec<BindingInfo> = recorded(recording, "bindings");
        bindings.retain(|binding| binding.source == "delay");
        let [to_exchange, to_queue] = &bindings[..] else { panic!("{version}: {bindings:?}") };
        assert_eq!(to_exchange.destination_type, DestinationType::Exchange, "{version}");
        assert_eq!(to_exchange.routing_key, "a.b", "{version}");
        assert_eq!(to_queue.destination_type, DestinationType::Queue, "{version}");
        assert_eq!(to_queue.arguments["x-origin"], json!(1), "{version}");

        let policies: Vec<Policy> = recorded(recording, "policies");
        assert_eq!((policies[0].name.as_str(), policies[0].priority), ("blanket", 3), "{version}");
        assert_eq!(policies[0].apply_to, "queues", "{version}");
        let operators: Vec<Policy> = recorded(recording, "operator_policies");
        assert_eq!(operators[0].definition["message-ttl"], json!(300_000), "{version}");

        let flags: Vec<FeatureFlag> = recorded(recording, "feature_flags");
        let stream_queue = flags.iter().find(|flag| flag.name == "stream_queue").unwrap();
        assert_eq!(stream_queue.state, FeatureFlagState::Enabled, "{version}");

        assert_eq!(recorded::<Whoami>(recording, "whoami").tags, ["administrator"], "{version}");
        assert_eq!(recorded::<Permissions>(recording, "permissions").write, ".*", "{version}");
    }
}

#[test]
fn a_state_that_we_do_not_know_counts_as_unavailable() {
    for (state, expected) in [
        ("disabled", FeatureFlagState::Disabled),
        ("state_changing", FeatureFlagState::StateChanging),
        ("unavailable", FeatureFlagState::Unavailable),
        ("something new", FeatureFlagState::Unavailable),
    ] {
        let flag: FeatureFlag =
            serde_json::from_value(json!({"name": "khepri_db", "state": state})).unwrap();
        assert_eq!(flag.state, expected);
    }
}

/// Answers one request with `status` and `body`, and returns where.
fn answer_once(status: &str, body: &str) -> Management {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    Management::new(&format!("http://app:{PASSWORD}@127.0.0.1:{port}"), None).unwrap()
}

#[tokio::test]
async fn a_refusal_says_who_asked_what_and_what_to_grant() {
    // RabbitMQ's own reasons: the same on 3.10.8, 4.0.5 and 4.3.6, but for the last two
    for (reason, remedy) in [
        ("Not management user", "`monitoring`"),
        ("Not monitor user", "`monitoring`"),
        ("Not administrator user", "`administrator`"),
        ("User not authorised to access object", "`policymaker`"),
        ("User not authorised to access virtual host", "set_permissions"),
        ("Access refused.", "`configure`"),
        ("User can only log in via localhost", "own host only"),
        ("Login failed", "password"),
        ("Not_Authorized", "password"),
    ] {
        let body = json!({"error": "not_authorised", "reason": reason}).to_string();
        let error = answer_once("401 Unauthorized", &body).queues("/").await.unwrap_err();
        let shown = error.to_string();
        assert!(matches!(error, ManagementError::Unauthorised { .. }), "{error:?}");
        for part in ["\"app\"", "GET /api/queues/%2F (", reason, remedy] {
            assert!(shown.contains(part), "{part} is not in: {shown}");
        }
        assert!(!format!("{shown} {error:?}").contains(PASSWORD), "{shown}");
    }
}

#[tokio::test]
async fn every_other_failure_is_a_sentence_without_credentials() {
    let not_found =
        answer_once("404 Not Found", "{}").delete_queue("/", "a.b/c").await.unwrap_err();
    assert!(matches!(not_found, ManagementError::NotFound { .. }), "{not_found:?}");
    assert!(not_found.to_string().contains("DELETE /api/queues/%2F/a%2Eb%2Fc"), "{not_found}");

    let body = r#"{"error":"bad_request","reason":["invalid_regexp",[40]]}"#;
    let refused = answer_once("400 Bad Request", body);
    let refused = refused.put_user("u", PASSWORD, &["monitoring"]).await.unwrap_err();
    assert!(matches!(refused, ManagementError::Refused { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains(r#"PUT /api/users/u: ["invalid_regexp",[40]]"#),
        "{refused}"
    );

    let broken = answer_once("503 Service Unavailable", "no healthy upstream").whoami().await;
    assert!(
        broken.as_ref().unwrap_err().to_string().contains("503, no healthy upstream"),
        "{broken:?}"
    );

    let foreign = answer_once("200 OK", "<html>Welcome</html>").whoami().await.unwrap_err();
    assert!(matches!(foreign, ManagementError::UnexpectedAnswer { .. }), "{foreign:?}");

    let moved =
        answer_once("301 Moved Permanently\r\nlocation: https://elsewhere", "").whoami().await;
    assert!(moved.as_ref().unwrap_err().to_string().contains("301"), "{moved:?}");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody =
        Management::new(&format!("http://app:{PASSWORD}@127.0.0.1:{port}/rabbit/api/"), None);
    let unreachable = nobody.unwrap().whoami().await.unwrap_err();
    assert!(matches!(unreachable, ManagementError::Unreachable { .. }), "{unreachable:?}");
    assert!(
        unreachable.to_string().contains(&format!("http://127.0.0.1:{port}/rabbit ")),
        "{unreachable}"
    );

    for error in [not_found, refused, broken.unwrap_err(), foreign, moved.unwrap_err(), unreachable]
    {
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    }
}

/// A live round trip; needs a user with the tag `administrator`, and leaves nothing behind.
#[tokio::test]
async fn a_round_trip_on_a_real_broker() {
    let Ok(uri) = std::env::var("DORMOUSE_TEST_MANAGEMENT_URI") else {
        println!("skipped: DORMOUSE_TEST_MANAGEMENT_URI is not set");
        return;
    };
    let ca_file = std::env::var_os("DORMOUSE_TEST_MANAGEMENT_CA_FILE");
    let management = Management::new(&uri, ca_file.as_deref().map(std::path::Path::new)).unwrap();
    let overview = management.overview().await.unwrap();
    assert!(!overview.node_names.as_ref().unwrap().is_empty(), "{overview:?}");
    println!("RabbitMQ {} at {}", overview.rabbitmq_version, overview.cluster_name);

    // names with everything that needs encoding
    let vhost = format!("dormouse/test ü.{}", std::process::id());
    let user = format!("dormouse-test.{}", std::process::id());
    management.put_vhost(&vhost).await.unwrap();
    let result =
        tokio::spawn(use_vhost(management.clone(), uri, vhost.clone(), user.clone())).await;
    management.delete_vhost(&vhost).await.unwrap();
    management.delete_user(&user).await.unwrap();
    result.unwrap();
    assert!(!management.virtual_hosts().await.unwrap().contains(&vhost));
    assert!(matches!(management.queues(&vhost).await, Err(ManagementError::NotFound { .. })));
}

async fn use_vhost(management: Management, uri: String, vhost: String, user: String) {
    let me = management.whoami().await.unwrap();
    assert!(management.virtual_hosts().await.unwrap().contains(&vhost));
    assert!(management.permissions_of(&me.name, &vhost).await.unwrap().is_some());
    assert_eq!(management.queues(&vhost).await.unwrap(), []);
    assert!(management.exchanges(&vhost).await.unwrap().iter().any(|e| e.name == "amq.topic"));
    assert_eq!(management.bindings(&vhost).await.unwrap(), []);
    assert_eq!(management.operator_policies(&vhost).await.unwrap(), []);
    let flags = management.feature_flags().await.unwrap();
    assert!(flags.iter().any(|flag| flag.name == "stream_queue"), "{flags:?}");

    let mut policy = Policy {
        name: "a policy/1".to_owned(),
        pattern: "^dormouse\\.".to_owned(),
        apply_to: "queues".to_owned(),
        definition: [("message-ttl".to_owned(), json!(60_000))].into(),
        priority: 7,
    };
    management.put_policy(&vhost, &policy).await.unwrap();
    policy.priority = 8;
    management.put_policy(&vhost, &policy).await.unwrap();
    assert_eq!(management.policies(&vhost).await.unwrap(), [policy.clone()]);
    management.delete_policy(&vhost, &policy.name).await.unwrap();
    assert_eq!(management.policies(&vhost).await.unwrap(), []);
    policy.definition = [("no-such-key".to_owned(), json!(1))].into();
    let refused = management.put_policy(&vhost, &policy).await;
    assert!(matches!(refused, Err(ManagementError::Refused { .. })), "{refused:?}");

    let missing = management.delete_queue(&vhost, "no.such/queue").await;
    assert!(matches!(missing, Err(ManagementError::NotFound { .. })), "{missing:?}");
    let missing = management.delete_exchange(&vhost, "no.such/exchange").await;
    assert!(matches!(missing, Err(ManagementError::NotFound { .. })), "{missing:?}");

    management.put_user(&user, "p@ss:w/rd", &["management"]).await.unwrap();
    assert_eq!(management.permissions_of(&user, &vhost).await.unwrap(), None);
    management.put_permissions(&vhost, &user, "^x", "", ".*").await.unwrap();
    let permissions = management.permissions_of(&user, &vhost).await.unwrap().unwrap();
    assert_eq!(
        (&*permissions.configure, &*permissions.write, &*permissions.read),
        ("^x", "", ".*")
    );

    let mut as_user = url::Url::parse(&uri).unwrap();
    as_user.set_username(&user).unwrap();
    as_user.set_password(Some("p%40ss%3Aw%2Frd")).unwrap();
    let ca_file = std::env::var_os("DORMOUSE_TEST_MANAGEMENT_CA_FILE");
    let ca_file = ca_file.as_deref().map(std::path::Path::new);
    let with_less = Management::new(as_user.as_str(), ca_file).unwrap();
    assert_eq!(with_less.whoami().await.unwrap().tags, ["management"]);
    assert_eq!(with_less.overview().await.unwrap().node_names, None);
    let refused = with_less.put_vhost("never").await;
    assert!(matches!(refused, Err(ManagementError::Unauthorised { .. })), "{refused:?}");
}

/// As 3.10.8 and 4.3.6 gave them. 3.10 calls a consumer of a stream inactive; only the status tells.
#[test]
fn the_active_consumer_of_a_queue_is_told_by_its_status() {
    let consumers = json!([
        { "arguments": {}, "ack_required": true, "active": false, "activity_status": "waiting",
          "channel_details": { "connection_name": "127.0.0.1:42710 -> 127.0.0.1:20194", "user": "guest" },
          "consumer_tag": "second", "queue": { "name": "dormouse.command", "vhost": "/" } },
        { "activity_status": "single_active", "consumer_tag": "first", "consumer_timeout": 1_800_000,
          "channel_details": { "connection_name": "127.0.0.1:42704 -> 127.0.0.1:20194" },
          "queue": { "name": "dormouse.command" } },
        { "active": false, "activity_status": "up", "consumer_tag": "reader", "channel_details": [],
          "queue": { "name": "dormouse.log", "vhost": "/" } },
    ]);
    let consumers: Vec<ConsumerInfo> = serde_json::from_value(consumers).unwrap();
    let active: Vec<_> = consumers.iter().map(ConsumerInfo::is_single_active).collect();
    assert_eq!(active, [false, true, false]);
    assert_eq!(consumers[1].queue(), "dormouse.command");
    assert_eq!(consumers[1].connection(), Some("127.0.0.1:42704 -> 127.0.0.1:20194"));
    assert_eq!(consumers[2].connection(), None);
}
