//! Celery's cascade as its own package declares it: kombu's `native_delayed_delivery`, from a Python
//! environment in `.dormouse/celery`. Only its TTLs are scaled; its topology and its routing keys are
//! its own, and the keys are compared with ours.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use tokio::process::Command;

use crate::bench::Binary;

const PYTHON: &str = ".dormouse/celery/bin/python";

/// Arguments: URI, target queue, unit in ms, countdowns. Prints the routing key of each.
const DECLARE: &str = r#"
import sys
import kombu
from kombu import Connection, Exchange, Queue
from kombu.transport import native_delayed_delivery as native

uri, target, unit_ms, *countdowns = sys.argv[1:]

def scaled(name, queue_arguments):
    # a function and no subclass: kombu makes copies by calling the class once more
    queue_arguments["x-message-ttl"] = queue_arguments["x-message-ttl"] // 1000 * int(unit_ms)
    return Queue(name, queue_arguments=queue_arguments)

native.Queue = scaled
with Connection(uri) as connection:
    native.declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
    exchange = Exchange("celery", type="topic")
    exchange(connection.default_channel).declare()
    queue = Queue(target, exchange, routing_key=target,
                  queue_arguments={"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000})
    native.bind_queue_to_native_delayed_delivery_exchange(connection, queue)
for countdown in countdowns:
    print(native.calculate_routing_key(int(countdown), target))
print(kombu.__version__)
"#;

/// Whether the environment is there.
pub fn is_installed() -> bool {
    Path::new(PYTHON).exists()
}

/// Declares it, and returns kombu's version.
pub async fn declare(uri: &str, target: &str, binary: &Binary) -> anyhow::Result<String> {
    let countdowns = [1_u32, 2, 3, 255, 256, 4_095];
    let output = Command::new(PYTHON)
        .args(["-c", DECLARE, uri, target, &binary.unit.as_millis().to_string()])
        .args(countdowns.map(|countdown| countdown.to_string()))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "kombu could not declare its queues");
    let text = String::from_utf8(output.stdout)?;
    let lines: Vec<&str> = text.lines().collect();
    for (countdown, theirs) in countdowns.iter().zip(&lines) {
        let delay: Duration = binary.unit * *countdown;
        let (_, ours) = binary.route(delay, target);
        ensure!(*theirs == ours, "kombu's key for {countdown} is {theirs}, ours is {ours}");
    }
    Ok(lines.last().copied().unwrap_or_default().to_owned())
}
