//! What failed and sleeps until it is tried again: by which policy, for which queue, when and why.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value as Json;

use super::layout::{self, Head};
use super::list::{of_message, target, without_index};
use super::places::Place;
use super::trouble;
use super::visitor::Visitor;
use super::words::{self, about};
use crate::api::problem::Problem;
use crate::api::question::Question;
use crate::config::{Config, DeadLetterReason, Retry};
use crate::operate::{count, number};
use crate::schedule::{Policies, Policy, UnixMs};
use dormouse_core::ledger::BY_CONSUMER;

/// Shown one by one.
const SHOWN: &str = "50";

pub async fn show(visitor: Visitor) -> Response {
    let head = Head { title: "Retries", place: Some(Place::Retries), ..Head::default() };
    let next = match next(&visitor).await {
        Ok(next) => next,
        Err(problem) => return trouble::page(&visitor, &problem),
    };
    let config = &visitor.site.api.config;
    let body = html! {
        h1 { "Retries" }
        p.lead { "What a target did not take, or a consumer rejected or put off, sleeps and is tried again." }
        @match &next {
            Some(next) => {
                (by_policy(&visitor, next))
                (coming(&visitor, next))
            },
            None => { (without_index("What comes back when")) },
        }
        (policies(config))
    };
    layout::page(&visitor, head, None, body)
}

/// What comes back.
struct Next {
    page: Json,
    count: Json,
    groups: Json,
}

/// None without an index.
async fn next(visitor: &Visitor) -> Result<Option<Next>, Problem> {
    let Some(index) = &visitor.site.api.index else { return Ok(None) };
    let retrying = BTreeMap::from([("state".to_owned(), "retrying".to_owned())]);
    let mut some = retrying.clone();
    some.insert("limit".into(), SHOWN.into());
    let asked = tokio::try_join!(
        index(Question::Messages(some)),
        index(Question::Count(retrying)),
        index(Question::Retrying)
    );
    match asked {
        Ok((page, count, groups)) => Ok(Some(Next { page, count, groups })),
        Err(problem) if problem.kind == crate::api::problem::Kind::LedgerRequired => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// By which policy a group comes back: what a consumer gave back by its queue's, what it scheduled again by its own, what was
/// not delivered by `attempts`.
fn policy_of(policies: &Policies, group: &Json) -> String {
    let (queue, reason) = (group["target"]["routing_key"].as_str(), group["reason"].as_str());
    let is_given_back = reason.and_then(DeadLetterReason::parse).is_some();
    match queue.filter(|_| is_given_back) {
        Some(queue) => shown(policies, policies.of_queue(queue)),
        None if reason == Some(BY_CONSUMER) => "its consumer’s".into(),
        None => "delivery".into(),
    }
}

/// A policy's name, as the table of policies has it.
fn shown(policies: &Policies, policy: &Policy) -> String {
    let is_rest = policies.names().last() == Some(policy.name.as_str());
    match (is_rest, policies.names().count()) {
        (true, 1) => "all queues".into(),
        (true, _) => "all others".into(),
        (false, _) => format!("/{}/", words::visible(&policy.name)),
    }
}

/// In the order of the policies, and then as they come: the largest first.
fn grouped(config: &Config, groups: &Json) -> Vec<(String, Json)> {
    let Ok(policies) = Policies::of(config) else { return Vec::new() };
    let groups = groups["groups"].as_array().into_iter().flatten();
    let mut grouped: Vec<_> =
        groups.map(|group| (policy_of(&policies, group), group.clone())).collect();
    grouped.sort_by(|(a, _), (b, _)| a.cmp(b));
    grouped
}

fn by_policy(visitor: &Visitor, next: &Next) -> Markup {
    let now = visitor.site.api.clock.now();
    let groups = grouped(&visitor.site.api.config, &next.groups);
    let seen: u64 = groups.iter().filter_map(|(_, group)| group["messages"].as_u64()).sum();
    let all = next.count["messages"].as_u64().unwrap_or(0);
    html! {
        @if !groups.is_empty() {
            section.panel {
                div.head {
                    h2 { "By policy and queue" }
                    @if seen < all { p.quiet { "the " (number(seen)) " of " (number(all)) " that come first" } }
                }
                div.wide tabindex="0" role="group" aria-label="By policy and queue" {
                    table.messages {
                        thead { tr {
                            th scope="col" { "Queue or target" } th scope="col" { "Policy" } th scope="col" { "Why" }
                            th.number scope="col" { "Messages" } th scope="col" { "Next" } th.number scope="col" { "In a minute" } th.number scope="col" { "In an hour" } th scope="col" { "Last" }
                        } }
                        tbody { @for (policy, group) in &groups { (group_row(policy, group, now)) } }
                    }
                }
            }
        }
    }
}

fn group_row(policy: &str, group: &Json, now: UnixMs) -> Markup {
    let of = |name: &str| words::counted(group[name].as_u64());
    let time = |name: &str| group[name].as_u64().map(UnixMs);
    html! {
        tr {
            td.first { (target(&group["target"])) }
            td data-label="Policy" { bdi { (policy) } }
            td { (group["reason"].as_str().unwrap_or("not noted")) }
            td.number data-label="Messages" { (of("messages")) }
            td data-label="Next" { @if let Some(next) = time("next_ms") { (words::moment(next, now)) } }
            td.number data-label="In a minute" { (of("within_a_minute")) }
            td.number data-label="In an hour" { (of("within_an_hour")) }
            td data-label="Last" { @if let Some(last) = time("last_ms") { (words::moment(last, now)) } }
        }
    }
}

fn coming(visitor: &Visitor, Next { page, count, .. }: &Next) -> Markup {
    let none = Vec::new();
    let messages = page["messages"].as_array().unwrap_or(&none);
    let now = visitor.site.api.clock.now();
    html! {
        section.panel {
            div.head {
                h2 { (number(count["messages"].as_u64().unwrap_or(0))) " come again" }
                @if page["next"].is_string() { a href=(visitor.site.at("/list?state=retrying")) { "All of them" } }
            }
            @if messages.is_empty() { div.empty { p.lead { "Nothing waits for another try." } } }
            @else {
                div.wide tabindex="0" role="group" aria-label="Messages that come again" {
                    table.messages {
                        thead { tr { th scope="col" { "Key or id" } th scope="col" { "Target" } th scope="col" { "Comes again" } th.number scope="col" { "Attempt" } th scope="col" { "Why" } } }
                        tbody { @for message in messages { (row(visitor, message, now)) } }
                    }
                }
            }
        }
    }
}

fn row(visitor: &Visitor, message: &Json, now: UnixMs) -> Markup {
    let text = |name: &str| message[name].as_str();
    let id = text("id").unwrap_or_default();
    html! {
        tr {
            td.first { a.mono href=(of_message(&visitor.site, id)) { bdi { (words::visible(text("key").unwrap_or(id))) } } }
            td { (target(&message["target"])) }
            td { @if let Some(comes) = message["comes_ms"].as_u64() { (words::moment(UnixMs(comes), now)) } }
            td.number data-label="Attempt" { (message["attempt"].as_u64().unwrap_or(1)) }
            td.why { (text("reason").unwrap_or("not noted")) @if let Some(detail) = text("detail") { p.quiet { (words::visible(detail)) } } }
        }
    }
}

fn policies(config: &Config) -> Markup {
    let retry = &config.retry;
    let attempts = &config.attempts;
    html! {
        section.panel {
            h2 { "By which policy" }
            p.quiet { "The first pattern that matches a consumer’s queue counts." }
            div.wide tabindex="0" role="group" aria-label="Policies" {
                table.messages {
                    thead { tr { th scope="col" { "Queues" } th scope="col" { "Pauses" } th.number scope="col" { "At most" } th scope="col" { "Not later than" } th scope="col" { "Brought back" } } }
                    tbody {
                        @for policy in &retry.policies { (policy_row(&format!("/{}/", words::visible(&policy.queues)), &retry.with(policy))) }
                        (policy_row(if retry.policies.is_empty() { "all queues" } else { "all others" }, retry))
                    }
                }
            }
            p.quiet {
                "A delivery that its target does not take is tried " (count(attempts.max.into(), "time")) ", "
                (growing(attempts.initial_backoff, attempts.multiplier, attempts.max_backoff)) "."
            }
        }
    }
}

fn policy_row(queues: &str, retry: &Retry) -> Markup {
    let ladder = retry.ladder.iter().map(|pause| about(*pause)).collect::<Vec<_>>().join(", ");
    let reasons: Vec<_> = retry.reasons.iter().map(|reason| reason.as_str()).collect();
    html! {
        tr {
            th.mono scope="row" { (queues) }
            td { @if retry.ladder.is_empty() { (growing(retry.initial_backoff, retry.multiplier, retry.max_backoff)) } @else { (ladder) } }
            td.number data-label="At most" { @if retry.ladder.is_empty() { (retry.max_retries) } @else { (retry.ladder.len()) } }
            td data-label="Not later than" { (about(retry.max_age)) }
            td data-label="Brought back" { @if reasons.is_empty() { "nothing" } @else { (reasons.join(", ")) } }
        }
    }
}

fn growing(first: Duration, multiplier: f64, longest: Duration) -> String {
    format!("from {}, {multiplier} times longer each time, up to {}", about(first), about(longest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::RetryOverride;

    #[test]
    fn what_comes_back_is_told_by_the_policy_that_brings_it() {
        let mut config = Config::default();
        let group = |queue: &str, reason: Option<&str>| {
            let target = json!({ "exchange": "", "routing_key": queue });
            json!({ "target": target, "reason": reason, "messages": 1 })
        };
        let groups = json!({ "groups": [
            group("mail", Some("rejected")),
            group("sms", Some("delivery_limit")),
            group("mail", Some("unroutable")),
            group("sms", None),
            group("sms", Some(BY_CONSUMER)),
        ] });
        let told = |config: &Config| {
            let grouped = grouped(config, &groups);
            let name = |group: &Json| group["target"]["routing_key"].as_str().unwrap().to_owned();
            grouped.iter().map(|(policy, group)| (policy.clone(), name(group))).collect::<Vec<_>>()
        };
        let pair = |policy: &str, queue: &str| (policy.to_owned(), queue.to_owned());
        let [all, others, delivery] = ["all queues", "all others", "delivery"];
        let own = pair("its consumer’s", "sms");
        let default = [
            pair(all, "mail"),
            pair(all, "sms"),
            pair(delivery, "mail"),
            pair(delivery, "sms"),
            own.clone(),
        ];
        assert_eq!(told(&config), default);
        let mail = RetryOverride { queues: "^mail".into(), ..RetryOverride::default() };
        config.retry.policies = vec![mail];
        let some = [
            pair("/^mail/", "mail"),
            pair(others, "sms"),
            pair(delivery, "mail"),
            pair(delivery, "sms"),
            own,
        ];
        assert_eq!(told(&config), some);
    }
}
