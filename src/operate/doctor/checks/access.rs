//! Who may do what, and until when anybody may.

use std::time::Duration;

use regex::Regex;

use crate::config::{Config, durations};
use crate::inventory::{Inventory, Permissions};
use crate::operate::amount::first_of;
use crate::operate::count;
use crate::operate::doctor::check::{Check, Question};
use crate::operate::doctor::findings::{About, Told};
use crate::operate::doctor::seen::Seen;
use crate::schedule::UnixMs;
use crate::topology::Names;

/// An authority that takes a week for a new one is not rare.
const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

const CERTIFICATES: Question = Question {
    name: "certificates",
    asks: "certificates are valid for two more weeks",
    from: "the nodes' TLS handshakes; the files of broker.cert_file, broker.ca_file and api.cert_file",
};

pub fn certificates(config: &Config, seen: &Seen) -> Check {
    let (mut over, mut soon, mut unread, mut good) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for certificate in &seen.certificates {
        let of = &certificate.of;
        match &certificate.not_after {
            // a handshake fails over it
            Err(why) if why.to_lowercase().contains("expired") => over.push(format!("{of}: {why}")),
            Err(why) => unread.push(format!("{of}: {why}")),
            Ok(end) if *end <= seen.at => over.push(format!("{of} ended {end}")),
            Ok(end) if end.since(seen.at) < SOON => soon.push(format!("{of} ends {end}")),
            Ok(end) => good.push((*end, of)),
        }
    }
    if !over.is_empty() {
        return CERTIFICATES.fail(first_of(&over), "renew it; whoever connects anew is refused");
    }
    if !soon.is_empty() {
        return CERTIFICATES.warn(first_of(&soon), "renew it");
    }
    if !unread.is_empty() {
        return CERTIFICATES.unseen(first_of(&unread), "let the user of this program read it");
    }
    match good.iter().min() {
        Some((end, of)) => CERTIFICATES.pass(format!(
            "{}; the first to end is {of}, {}",
            count(good.len() as u64, "certificate"),
            left(*end, seen.at)
        )),
        None if config.broker.uri.iter().all(|uri| uri.is_loopback()) => {
            CERTIFICATES.pass("none is in use: RabbitMQ is on this machine")
        }
        None => CERTIFICATES.warn(
            "none is in use: passwords and messages cross the network as they are",
            "amqps:// in broker.uri: docs/operations.md",
        ),
    }
}

fn left(end: UnixMs, now: UnixMs) -> String {
    let days = end.since(now).as_secs() / 86_400;
    format!("in {}", durations::duration(Duration::from_secs(days * 86_400)))
}

const PERMISSIONS: Question = Question {
    name: "permissions",
    asks: "the workers' user may do what a worker does, and no more",
    from: "management API: permissions of the user in broker.uri",
};

pub fn permissions(config: &Config, seen: &Seen) -> Check {
    let told = Told::of(&seen.verified.verdict, &Names::of(config), About::Permissions);
    if let Some(check) = told.answer(PERMISSIONS) {
        return check;
    }
    let next = "ask as an administrator: broker.management_uri";
    let broker = match &seen.broker {
        Ok(broker) => broker,
        Err(why) => return PERMISSIONS.unseen(why, next),
    };
    let permissions = match &broker.permissions {
        Ok(Some(permissions)) => permissions,
        Ok(None) => return PERMISSIONS.fail("it has none", "rabbitmqctl set_permissions"),
        Err(why) => return PERMISSIONS.unseen(why, next),
    };
    let excess = excess(config, permissions, &broker.standing);
    if excess.is_empty() {
        return PERMISSIONS.pass(format!(
            "user {:?} may what is needed, and nothing else that stands",
            permissions.user
        ));
    }
    let evidence = format!("user {:?} {}", permissions.user, excess.join(", "));
    PERMISSIONS.warn(evidence, "the patterns of docs/operations.md, Permissions")
}

/// A name that is nobody's.
const ANY: &str = "somebody.elses";

/// What it may beyond what a worker does: of the names that stand, and of one that could.
fn excess(config: &Config, permissions: &Permissions, standing: &Inventory) -> Vec<String> {
    let own = |name: &str| {
        name.starts_with(&format!("{}.", config.topology.namespace))
            || config.delay_exchanges.iter().any(|delay| delay.name == name)
    };
    let is_target = |name: &str| {
        let targets = config.delay_exchanges.iter().map(|delay| &delay.target_exchange);
        targets.chain(&config.targets.header_exchanges).any(|target| target == name)
    };
    let exchanges = standing.exchanges.iter().map(|exchange| exchange.name.as_str());
    let queues = standing.queues.iter().map(|queue| queue.name.as_str());
    let foreign = |name: &&str| !name.is_empty() && !own(name) && !name.starts_with("amq.");
    let strangers: Vec<&str> = exchanges.chain(queues).filter(foreign).chain([ANY]).collect();
    let mut excess = Vec::new();
    for (operation, pattern) in [
        ("configure", &permissions.configure),
        ("write", &permissions.write),
        ("read", &permissions.read),
    ] {
        let Ok(allowed) = Regex::new(pattern) else { continue };
        let reaches = |name: &&&str| {
            let is_needed = operation == "write" && is_target(name);
            !pattern.is_empty() && allowed.is_match(name) && !is_needed
        };
        let reached = strangers.iter().filter(reaches).count();
        if reached > 0 {
            excess.push(format!("may {operation} what is not Dormouse's ({pattern})"));
        }
    }
    excess
}
