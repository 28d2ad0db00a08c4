//! Who takes in, delivers and decides: the processes that are connected, and what each has open.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Head, findings, sign};
use super::places::Place;
use super::trouble;
use super::visitor::Visitor;
use super::words::{self, counted, visible};
use crate::api::events;
use crate::api::watching::Seen;
use crate::inventory::ConnectionInfo;
use crate::management::{Management, ManagementError};
use crate::operate::status::commands::Commands;
use crate::operate::vhost_name;
use crate::schedule::UnixMs;
use crate::topology::Names;

/// What a worker calls its connection that consumes.
const CONSUMES: &str = "dormouse consume";
/// Workers whose hold is asked for, a request each.
const MOST_ASKED: usize = 32;
/// A clock that is so far from RabbitMQ's is worth a look: connecting takes less.
const FAR_MS: u64 = 500;

pub async fn show(visitor: Visitor) -> Response {
    let api = &visitor.site.api;
    let sample = match events::now(api).await {
        Ok(sample) => sample,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    match &sample.seen {
        Ok(seen) => {
            let processes = processes(&visitor).await;
            let head = Head { title: "Workers", place: Some(Place::Workers), ..Head::default() };
            layout::page(&visitor, head, Some(&sample), body(seen, &processes, api.clock.now()))
        }
        Err(problem) => trouble::page(&visitor, problem),
    }
}

/// A process of ours, by its machine and number there.
type Processes = BTreeMap<(String, String), Process>;

/// What RabbitMQ tells of a process.
#[derive(Default)]
struct Process {
    connections: Vec<ConnectionInfo>,
    /// By its consumers of what is due. None: it has none, or RabbitMQ does not tell.
    held: Option<u64>,
}

async fn processes(visitor: &Visitor) -> Result<Processes, ManagementError> {
    let config = &visitor.site.api.config;
    let (management, vhost) = (Management::of(&config.broker)?, vhost_name(config));
    let held = held(&management, &vhost, &Names::of(config).due()).await;
    let mut processes = Processes::new();
    for connection in management.connections(&vhost).await? {
        if connection.is_ours() {
            let host = connection.peer_host.clone().unwrap_or_default();
            let pid = connection.pid().unwrap_or_default().to_owned();
            let process = processes.entry((host, pid)).or_default();
            if let Some(more) = held.get(&connection.name) {
                process.held = Some(process.held.unwrap_or(0) + more);
            }
            process.connections.push(connection);
        }
    }
    Ok(processes)
}

/// How much each connection holds of what is due: RabbitMQ counts what it has given to a channel and is not acked.
async fn held(management: &Management, vhost: &str, due: &str) -> BTreeMap<String, u64> {
    let mut held = BTreeMap::new();
    let consumers = management.consumers_of(vhost, due).await.unwrap_or_default();
    for consumer in consumers.iter().take(MOST_ASKED) {
        if let (Some(connection), Some(channel)) = (consumer.connection(), consumer.channel())
            && let Ok(Some(unacked)) = management.unacked_on(channel).await
        {
            *held.entry(connection.to_owned()).or_default() += unacked;
        }
    }
    held
}

fn body(seen: &Seen, processes: &Result<Processes, ManagementError>, now: UnixMs) -> Markup {
    let overview = &seen.status.overview;
    let stage = |name: &str| overview.stages.iter().find(|stage| stage.name == name);
    let intake = overview.stages.iter().filter(|stage| stage.name == "intake");
    let commands = seen.status.commands.as_ref();
    html! {
        h1 { "Workers" }
        (findings(seen))
        dl.tiles {
            div.bad[overview.workers == Some(0)] { dt { "Deliver" } dd { (counted(overview.workers)) } dd.note { "what is due" } }
            @for stage in intake { div { dt { "Take in" } dd { (counted(stage.counts.consumers)) } dd.note.mono { (visible(&stage.queue)) } } }
            @if let Some(retry) = stage("retry") { div { dt { "Retry" } dd { (counted(retry.counts.consumers)) } dd.note { "bring back what was rejected" } } }
            @if let Some(due) = stage("due") { div { dt { "Held" } dd { (counted(due.counts.unacked)) } dd.note { "in their memory" } } }
        }
        (table(processes, commands, now))
        @match commands {
            Some(commands) => { (registrar(commands)) },
            None => { section.panel.hint { h2 { "Commands are off" } p { "With " code { "commands.enabled" } " one worker decides what cancels and moves come to: the registrar." } } },
        }
    }
}

fn table(
    processes: &Result<Processes, ManagementError>,
    commands: Option<&Commands>,
    now: UnixMs,
) -> Markup {
    html! {
        section.panel {
            h2 { "Who is connected" }
            @match processes {
                Err(error) => { p.notice.warn { (sign(false)) (words::prose(&error.to_string())) } },
                Ok(processes) if processes.is_empty() => { p.quiet { "RabbitMQ tells of no process: it does so some seconds after each has connected, and with the tag monitoring of others than " code { "broker.uri" } "’s user." } },
                Ok(processes) => {
                    div.wide tabindex="0" role="group" aria-label="Processes that are connected" {
                        table.messages {
                            thead { tr { th scope="col" { "Process" } th scope="col" { "Does" } th scope="col" { "Version" } th.number scope="col" { "Held" } th scope="col" { "Clock" } th scope="col" { "User" } th scope="col" { "Since" } th.number scope="col" { "Connections" } } }
                            tbody { @for ((host, pid), of) in processes { (process(host, pid, of, commands, now)) } }
                        }
                    }
                    p.quiet { "Held: in its memory, by RabbitMQ’s count. Clock: compared with that of RabbitMQ’s node when the process last connected; due times follow the clocks of workers." }
                },
            }
        }
    }
}

/// Of the connection that was made last.
fn clock(connections: &[ConnectionInfo], now: UnixMs) -> Markup {
    let newest = connections.iter().max_by_key(|connection| connection.connected_at_ms);
    let told = newest.and_then(|newest| Some((newest.clock_ahead_ms()?, newest.connected_at_ms?)));
    html! {
        @match told {
            None => { span.quiet title="RabbitMQ does not tell, or the process is older than what tells it" { "unseen" } },
            Some((ahead_ms, at)) => {
                span.state.warn[ahead_ms.unsigned_abs() >= FAR_MS].calm[ahead_ms.unsigned_abs() < FAR_MS] {
                    (words::about(Duration::from_millis(ahead_ms.unsigned_abs()))) (if ahead_ms < 0 { " behind" } else { " ahead" })
                }
                " " span.quiet { (words::relative(UnixMs(at), now)) }
            },
        }
    }
}

fn process(
    host: &str,
    pid: &str,
    Process { connections, held }: &Process,
    commands: Option<&Commands>,
    now: UnixMs,
) -> Markup {
    let since = connections.iter().filter_map(|connection| connection.connected_at_ms).min();
    let is_worker = connections
        .iter()
        .any(|connection| connection.user_provided_name.as_deref() == Some(CONSUMES));
    let decides = commands.and_then(|commands| commands.registrar.as_ref()?.connection.as_ref());
    let is_registrar = decides
        .is_some_and(|decides| connections.iter().any(|connection| connection.name == *decides));
    let first = connections.first();
    html! {
        tr {
            th.mono scope="row" { (visible(host)) @if !pid.is_empty() { " pid " (visible(pid)) } }
            td {
                @if is_worker { span.state.good { "worker" } " " }
                @if is_registrar { span.state.calm { "registrar" } }
                @if !is_worker && !is_registrar { span.quiet { (visible(first.and_then(|first| first.user_provided_name.as_deref()).unwrap_or("a client"))) } }
            }
            td data-label="Version" { (visible(first.and_then(ConnectionInfo::version).unwrap_or("–"))) }
            td.number data-label="Held" { @if is_worker { (counted(*held)) } @else { span.quiet { "–" } } }
            td data-label="Clock" { (clock(connections, now)) }
            td data-label="User" { bdi { (visible(first.and_then(|first| first.user.as_deref()).unwrap_or("–"))) } }
            td { @if let Some(since) = since { (words::moment(UnixMs(since), now)) } }
            td.number data-label="Connections" { (connections.len()) }
        }
    }
}

fn registrar(commands: &Commands) -> Markup {
    html! {
        section.panel {
            h2 { "Registrar" }
            @match &commands.registrar {
                Some(registrar) => {
                    dl.facts {
                        dt { "Decides" } dd.mono { (visible(&registrar.consumer_tag)) }
                        dt { "Connection" } dd.mono { @if let Some(connection) = &registrar.connection { (visible(connection)) } @else { span.quiet { "not known yet" } } }
                        dt { "Would follow it" } dd { (counted(commands.taking_part.map(|all| all.saturating_sub(1)))) }
                        dt { "Commands waiting" } dd { (counted(commands.waiting.ready)) }
                    }
                },
                None => { p.quiet { "Nobody decides commands just now, or RabbitMQ has not told who does. " (counted(commands.waiting.ready)) " wait." } },
            }
        }
    }
}
