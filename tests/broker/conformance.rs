//! Clients in six languages publish every row of the `x-delay` table that they can encode, twice:
//! straight to a queue, which keeps what they sent, and delayed. What arrives is compared with what
//! was sent, field by field, as the README's table of what arrives promises.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clients::folder;
use crate::support::*;
use dormouse::message::{ByteArray, Headers, Message, Properties, Value, text};
use dormouse::schedule::headers;
use dormouse::topology::Topology;
use dormouse::worker::Clock;

const X_DELAY: &str = "x-delay";
const MAX_DELAY: Duration = Duration::from_secs(60 * 24 * 3600);

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// Arrives with its headers as they were.
    AtOnce,
    /// Arrives so many ms later, `x-delay` negated.
    After(i64),
    /// Still asleep when all others have arrived.
    Asleep,
    /// In the DLQ, for this reason.
    Dead(&'static str),
}
use Fate::*;

/// The rows of the archived plugin's table, and what Dormouse makes of each. The value is how a client
/// encodes the row on the wire.
fn rows() -> BTreeMap<&'static str, (Option<Value>, Fate)> {
    let bytes = |text: &str| Value::ByteArray(ByteArray::from(text.as_bytes()));
    let malformed = Dead("malformed-delay");
    let decimal = lapin::types::DecimalValue { scale: 1, value: 3009 };
    BTreeMap::from([
        ("absent", (None, AtOnce)),
        ("nothing", (Some(Value::Void), AtOnce)),
        ("zero", (Some(Value::LongInt(0)), AtOnce)),
        ("negative", (Some(Value::LongInt(-5)), AtOnce)),
        ("int8", (Some(Value::ShortShortInt(100)), After(100))),
        ("uint8", (Some(Value::ShortShortUInt(200)), After(200))),
        ("int16", (Some(Value::ShortInt(300)), After(300))),
        ("uint16", (Some(Value::ShortUInt(300)), After(300))),
        ("int32", (Some(Value::LongInt(300)), After(300))),
        ("uint32", (Some(Value::LongUInt(300)), After(300))),
        ("int64", (Some(Value::LongLongInt(300)), After(300))),
        ("float", (Some(Value::Float(300.9)), After(300))),
        ("double", (Some(Value::Double(300.9)), After(300))),
        ("decimal", (Some(Value::DecimalValue(decimal)), After(300))),
        ("string", (Some(text("300")), After(300))),
        ("string with a sign", (Some(text("+300")), After(300))),
        ("negative string", (Some(text("-5")), AtOnce)),
        ("bytes", (Some(bytes("300")), After(300))),
        ("49.7 days", (Some(Value::LongLongInt(4_294_967_295)), Asleep)),
        ("beyond 49.7 days", (Some(Value::LongLongInt(4_294_967_296)), Asleep)),
        ("too long", (Some(Value::LongLongInt(10_000_000_000)), Dead("delay-too-long"))),
        ("words", (Some(text("5s")), malformed)),
        ("fraction", (Some(text("500.5")), malformed)),
        ("empty", (Some(text("")), malformed)),
        ("boolean", (Some(Value::Boolean(true)), malformed)),
        ("timestamp", (Some(Value::Timestamp(1_893_456_000)), malformed)),
        ("table", (Some(Value::FieldTable(<_>::default())), malformed)),
        ("array", (Some(Value::FieldArray(<_>::default())), malformed)),
    ])
}

/// One program of tests/clients, and the rows that its client has no type for.
pub struct Client {
    pub language: &'static str,
    pub run: &'static str,
    pub file: &'static str,
    pub cannot: &'static [&'static str],
    /// It sets every property that a publisher may set.
    pub all_properties: bool,
}

async fn conforms(client: Client) {
    let Some(folder) = folder(client.language) else { return };
    let broker = Broker::fresh(&format!("conform-{}", client.language)).await;
    let mut config = broker.config();
    config.topology.radix = 16;
    config.topology.max_delay = MAX_DELAY;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["conform", "conform.sent"]).await;
    let began = Clock::default().now().0 as i64;
    publish_with(&client, &folder, &broker, &[]).await;

    let mut rows = rows();
    for row in client.cannot {
        assert!(rows.remove(row).is_some(), "{row} is no row");
    }
    let sent = by_row(take(&connection, "conform.sent", rows.len()).await);
    assert_eq!(sent.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>());
    let of = |wanted: fn(&Fate) -> bool| rows.values().filter(|(_, fate)| wanted(fate)).count();
    let arriving = of(|fate| matches!(fate, AtOnce | After(_)));
    let arrived = by_row(take(&connection, "conform", arriving).await);
    let dying = of(|fate| matches!(fate, Dead(_)));
    let dead = take_dead(&connection, &config, dying).await;
    let dead = by_row(dead.into_iter().map(|message| (0, message)).collect());
    let ended = Clock::default().now().0 as i64;

    for (row, (value, fate)) in &rows {
        let (_, sent) = &sent[*row];
        assert_eq!(header(sent, X_DELAY), value.as_ref(), "{row}: as encoded");
        if client.all_properties {
            assert_all_set(&sent.properties);
        }
        println!("{:<20} {:<44} {fate:?}", row, format!("{value:?}"));
        match fate {
            AtOnce => check_arrived(row, sent, &arrived[*row], None, began, ended),
            After(ms) => check_arrived(row, sent, &arrived[*row], Some(*ms), began, ended),
            Dead(reason) => check_dead(row, sent, &dead[*row].1, reason),
            Asleep => assert!(!arrived.contains_key(*row) && !dead.contains_key(*row), "{row}"),
        }
    }
    let sleeping = of(|fate| matches!(fate, Asleep));
    let topology = Topology::of(&config);
    let levels = topology.queues.iter().filter(|queue| queue.name.contains(".level."));
    let mut in_levels = 0;
    for level in levels {
        in_levels += depth(&connection, &level.name).await.expect("a level queue");
    }
    assert_eq!(in_levels as usize, sleeping, "the long ones sleep");
    assert_eq!(depth(&connection, "conform").await, Some(0), "each arrived once");
    worker.stop().await;
    broker.drop_it().await;
}

/// Runs the program, with further arguments of its own.
pub async fn publish_with(client: &Client, folder: &Path, broker: &Broker, further: &[&str]) {
    // a module is looked for beside the file, and Java wants its class's name
    let workplace = folder.join(&broker.vhost);
    std::fs::create_dir(&workplace).unwrap();
    let file = if client.language == "java" {
        workplace.join(client.file)
    } else {
        folder.join(format!("{}-{}", broker.vhost, client.file))
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(client.file);
    std::fs::copy(program, &file).unwrap();
    let run = if client.run.contains('/') { folder.join(client.run) } else { client.run.into() };
    let running = tokio::process::Command::from(Command::new(run))
        .arg(&file)
        .args(further)
        .current_dir(folder)
        .env("DORMOUSE_URI", broker.uri())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, running).await.expect("it ends").unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_dir_all(&workplace).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", client.file);
}

/// By the header `row`, each once, with the time it came.
pub fn by_row(taken: Vec<(u64, Message)>) -> BTreeMap<String, (u64, Message)> {
    let count = taken.len();
    let by_row: BTreeMap<_, _> =
        taken.into_iter().map(|(at, message)| (words(&message, "row"), (at, message))).collect();
    assert_eq!(by_row.len(), count, "each row once");
    by_row
}

/// Otherwise a comparison would compare nothing.
fn assert_all_set(properties: &Properties) {
    let Properties {
        content_type,
        content_encoding,
        headers,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        timestamp,
        kind,
        user_id,
        app_id,
        cluster_id,
    } = properties;
    let texts = [
        content_type,
        content_encoding,
        correlation_id,
        reply_to,
        expiration,
        message_id,
        kind,
        user_id,
        app_id,
    ];
    assert!(texts.iter().all(|text| text.is_some()), "{properties:?}");
    assert_eq!((*delivery_mode, *priority, *timestamp), (Some(1), Some(7), Some(1_700_000_000)));
    assert_eq!(*cluster_id, None, "deprecated");
    for name in ["tenant", "flag", "bytes", "nested"] {
        assert!(headers.contains_key(name), "{name}");
    }
}

/// Compares with what was `sent`, as promised for a relative delay of `delay_ms`, or for none.
pub fn check_arrived(
    row: &str,
    sent: &Message,
    (at, arrived): &(u64, Message),
    delay_ms: Option<i64>,
    began: i64,
    ended: i64,
) {
    assert_eq!(arrived.body, sent.body, "{row}: body");
    assert_eq!((arrived.exchange.as_str(), arrived.routing_key.as_str()), ("", "conform"), "{row}");
    let due = number(arrived, headers::DUE_MS);
    assert!(*at as i64 >= due, "{row} is early");
    let asked = due - delay_ms.unwrap_or(0);
    assert!((began..=ended).contains(&asked), "{row}: due {asked} ms + its delay");

    let mut expected = sent.properties.headers.clone();
    if let Some(delay_ms) = delay_ms {
        expected.insert(X_DELAY.into(), Value::LongLongInt(-delay_ms));
    }
    if let Some(user_id) = &sent.properties.user_id {
        expected.insert(headers::USER_ID.into(), text(user_id.as_str()));
    }
    let mut headers = arrived.properties.headers.clone();
    assert!(headers.remove(headers::ID).is_some(), "{row}: an id");
    assert!(headers.remove(headers::DUE_MS).is_some());
    assert_eq!(headers.remove(headers::ATTEMPT), Some(Value::LongInt(1)), "{row}");
    assert_eq!(headers, expected, "{row}: headers");
    let kept = Properties { headers: Headers::new(), user_id: None, ..sent.properties.clone() };
    let properties = Properties { headers: Headers::new(), ..arrived.properties.clone() };
    assert_eq!(properties, kept, "{row}: properties");
}

fn check_dead(row: &str, sent: &Message, dead: &Message, reason: &str) {
    assert_eq!(words(dead, headers::REASON), reason, "{row}");
    assert!(words(dead, headers::DETAIL).contains(X_DELAY), "{row}: it names the header");
    assert_eq!(words(dead, headers::ROUTING_KEY), "conform", "{row}");
    assert_eq!(dead.body, sent.body, "{row}: body");
    let mut headers = dead.properties.headers.clone();
    headers.retain(|name, _| !name.as_str().starts_with(headers::PREFIX));
    assert_eq!(headers, sent.properties.headers, "{row}: headers");
    let Properties { content_type, content_encoding, reply_to, message_id, .. } = &dead.properties;
    let properties = &sent.properties;
    assert_eq!(
        (content_type, content_encoding, reply_to, message_id),
        (
            &properties.content_type,
            &properties.content_encoding,
            &properties.reply_to,
            &properties.message_id
        ),
        "{row}: properties"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pika_in_python() {
    conforms(Client {
        language: "python",
        run: "venv/bin/python",
        file: "conform.py",
        cannot: &["int8", "uint8", "int16", "uint16", "uint32", "float", "double"],
        all_properties: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amqplib_in_node() {
    conforms(Client {
        language: "node",
        run: "node",
        file: "conform.mjs",
        cannot: &[],
        all_properties: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn php_amqplib() {
    conforms(Client {
        language: "php",
        run: "php",
        file: "conform.php",
        cannot: &["float", "double"],
        all_properties: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp091_go() {
    conforms(Client {
        language: "go",
        run: "./run",
        file: "conform.go",
        cannot: &["uint16", "uint32"],
        all_properties: true,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp_client_in_java() {
    conforms(Client {
        language: "java",
        run: "./run",
        file: "Conform.java",
        cannot: &["uint8", "uint16", "uint32"],
        all_properties: true,
    })
    .await;
}

/// Debian's amqp-tools: strings only.
#[tokio::test(flavor = "multi_thread")]
async fn amqp_publish_in_c() {
    conforms(Client {
        language: "c",
        run: "./run",
        file: "conform.sh",
        cannot: &[
            "nothing",
            "zero",
            "negative",
            "int8",
            "uint8",
            "int16",
            "uint16",
            "int32",
            "uint32",
            "int64",
            "float",
            "double",
            "decimal",
            "bytes",
            "49.7 days",
            "beyond 49.7 days",
            "too long",
            "boolean",
            "timestamp",
            "table",
            "array",
        ],
        all_properties: false,
    })
    .await;
}
