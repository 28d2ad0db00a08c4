//! What stands, and what sleeps where: as whoever asks may see it.
//!
//! RabbitMQ tells over AMQP how much is in a queue to every user of the virtual host, and since 4.2.6 to who has a permission
//! on it: <https://github.com/rabbitmq/rabbitmq-server/pull/16272>. So levels and workers are asked as who asks for them, with
//! what the management API tells that user. What is wrong with the topology tells of policies and permissions: it is for
//! users with one of RabbitMQ's tags, and seen with the service's own eyes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::messages::MOST_IN_A_BATCH;
use super::problem::{Document, Kind, Problem};
use super::request::delay;
use super::state::Api;
use super::trouble;
use crate::config::{Role, durations};
use crate::management::{Management, ManagementError};
use crate::operate::doctor::{DoctorError, Examined, Look, doctor};
use crate::operate::status::StatusError;
use crate::operate::told::Told;
use crate::operate::verify::Verified;
use crate::operate::{Others, When, explain as explaining, status, verify};

/// How long a question waits for those before it.
const IN_LINE: Duration = Duration::from_secs(5);

/// A delay to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Explain {
    /// `3h`, `90s`, or milliseconds.
    #[param(example = "3h")]
    delay: String,
}

fn done(document: &Json) -> Result<Response, Problem> {
    Ok(respond(200, to_json(document)))
}

/// Errors: too many ask already.
pub async fn turn(api: &Api) -> Result<SemaphorePermit<'_>, Problem> {
    match timeout(IN_LINE, api.asking.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => {
            Err(Problem::new(Kind::Busy, "too many questions are asked of RabbitMQ at once"))
        }
    }
}

/// The exact path of a message with this delay: it follows from the configuration alone.
#[utoipa::path(
    get, path = "/v1/explain", tag = "look", operation_id = "explain", params(Explain),
    responses(
        (status = 200, description = "Its way through the levels", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn explain(
    State(api): State<Api>,
    caller: Caller,
    Query(asked): Query<Explain>,
) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    let wanted = delay(&asked.delay).map_err(|problem| Problem::new(Kind::Invalid, problem))?;
    let now = api.clock.now();
    api.limits.due(Some(wanted), None, now)?;
    let path = explaining::explain(&api.config, When::In(wanted.0), now);
    let path = path.map_err(|too_long| Problem::new(Kind::DelayTooLong, too_long.to_string()))?;
    done(&path.document())
}

/// How much sleeps in each level, and until when at most. `null` is what this caller may not see, or RabbitMQ has not
/// counted yet.
#[utoipa::path(
    get, path = "/v1/levels", tag = "look", operation_id = "levels",
    responses(
        (status = 200, description = "Levels, and the queues before and behind them", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn levels(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let mut document = seen(&api, &caller).await?;
    if let Some(document) = document.as_object_mut() {
        document.remove("broker");
    }
    done(&document)
}

/// Who takes in, delivers and decides.
#[utoipa::path(
    get, path = "/v1/workers", tag = "look", operation_id = "workers",
    responses(
        (status = 200, description = "Counts of workers by what they do", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn workers(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let document = seen(&api, &caller).await?;
    done(&json!({
        "at": document["at"],
        "delivering": document["workers"],
        "commands": document["commands"],
        "kept": document["kept"],
        "findings": document["findings"],
    }))
}

async fn seen(api: &Api, caller: &Caller) -> Result<Json, Problem> {
    caller.may(Scope::Read)?;
    let _turn = turn(api).await?;
    let seen = status::status(&caller.login.config, &api.clock).await;
    let seen = seen.map_err(|StatusError(error)| trouble::amqp(&error))?;
    Ok(seen.document(&caller.login.config))
}

/// What is not as it should be, with the remedy. For users with a tag of RabbitMQ's, and tokens with the scope read.
#[utoipa::path(
    get, path = "/v1/topology", tag = "look", operation_id = "topology",
    responses(
        (status = 200, description = "Findings, and what could not be seen", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn topology(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    {
        let _turn = turn(&api).await?;
        has_a_tag(&caller).await?;
    }
    done(&verified(&api).await?.value.document(&api.config))
}

/// What is not as it should be, or was not a moment ago: for all who ask.
///
/// Errors: too many ask RabbitMQ something, or it cannot be asked.
pub async fn verified(api: &Api) -> Result<Arc<Told<Verified>>, Problem> {
    let asking = async {
        let _turn = turn(api).await?;
        let verified = verify::verify(&api.config, Others::IfFew).await;
        verified.map_err(|error| trouble::amqp(&error.0.0))
    };
    api.verified.ask(asking.boxed()).await
}

/// What the doctor finds, or found a moment ago: for all who ask.
///
/// Errors: too many ask RabbitMQ something, or it cannot be asked.
pub async fn examined(api: &Api) -> Result<Arc<Told<Examined>>, Problem> {
    let asking = async {
        let _turn = turn(api).await?;
        let examined = doctor(&api.config, &api.clock, &Look::default()).await;
        examined.map_err(|DoctorError(error)| trouble::amqp(&error))
    };
    api.examined.ask(asking.boxed()).await
}

/// What is for operators: they have one of RabbitMQ's tags. A token has its scopes instead.
///
/// Errors: RabbitMQ's management API does not know the caller as somebody with one.
pub async fn has_a_tag(caller: &Caller) -> Result<(), Problem> {
    if caller.is_token() {
        return Ok(());
    }
    let management = Management::of(&caller.login.config.broker);
    let known = match management {
        Ok(management) => management.whoami().await,
        Err(error) => Err(error),
    };
    match known {
        Ok(_) => Ok(()),
        Err(ManagementError::Unauthorised { user, .. }) => {
            let detail = format!(
                "user {user:?} has none of RabbitMQ's tags: management, monitoring, policymaker or administrator"
            );
            Err(Problem::new(Kind::Forbidden, detail))
        }
        Err(error) => {
            let detail =
                format!("whether the caller has one of RabbitMQ's tags cannot be asked: {error}");
            Err(Problem::new(Kind::NoBroker, detail))
        }
    }
}

/// What this service can do, and its limits.
#[utoipa::path(
    get, path = "/v1/capabilities", tag = "look", operation_id = "capabilities",
    responses(
        (status = 200, description = "Roles, features and limits", body = Object),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn capabilities(State(api): State<Api>, _: Caller) -> Result<Response, Problem> {
    let config = &api.config;
    let roles: Vec<_> = Role::ALL.into_iter().filter(|role| config.service.has(*role)).collect();
    done(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "roles": roles.into_iter().map(Role::name).collect::<Vec<_>>(),
        "commands": config.commands.enabled,
        "index": api.index.is_some(),
        "endpoints": api.endpoints.is_some(),
        "delay_service": config.api.delay_service,
        "topology_version": config.topology.version,
        "unit_ms": config.topology.unit.as_millis() as u64,
        "max_delay": durations::duration(config.topology.max_delay),
        "max_delay_ms": config.topology.max_delay.as_millis() as u64,
        "max_batch": MOST_IN_A_BATCH,
        "max_body_bytes": config.api.max_body_bytes,
        "target_exchanges": config.targets.header_exchanges,
        "target_queues": config.targets.queues,
    }))
}
