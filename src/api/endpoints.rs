//! The endpoints of webhooks, as the operator's file has them; and a webhook to try one out.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{respond, to_json};
use super::auth::caller::Caller;
use super::auth::tokens::Scope;
use super::body::{object, whole};
use super::look::{has_a_tag, turn};
use super::problem::{Document, Kind, Problem};
use super::state::Api;
use crate::webhooks::{Known, LiveEndpoints, Sender, Tried, try_out};

/// After a name in a path.
const TEST: &str = ":test";

/// An endpoint of webhooks. Its secrets, and the path of its address, are shown nowhere.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub struct EndpointShown {
    #[schema(example = "billing")]
    name: String,
    /// Scheme, host and port of its address.
    #[schema(example = "https://billing.example.com")]
    origin: String,
    /// How many secrets it has, those that have expired included; without one, nothing is signed.
    secrets: usize,
    /// Of a whole request.
    timeout_ms: u64,
    /// Requests a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    /// Its messages go to the DLQ.
    disabled: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// All of them, by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Endpoints {
    endpoints: Vec<EndpointShown>,
}

/// Where a test goes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndpointTest, example = json!({ "path": "/orders/7" }))]
pub struct TestRequest {
    /// Below the endpoint's address.
    path: Option<String>,
}

/// What became of a test.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointTested)]
pub struct Tested {
    endpoint: String,
    /// What the endpoint got as `webhook-id`.
    webhook_id: String,
    /// `delivered`, `refused`, `gone`, `failed` (no answer) or `forbidden`.
    #[schema(example = "delivered")]
    outcome: &'static str,
    /// As the endpoint answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// From the request to the end of the answer.
    took_ms: u64,
    /// The first 1,024 bytes of the answer; what is no UTF-8 is replaced.
    answer: String,
}

impl From<Known> for EndpointShown {
    fn from(Known { endpoint, disabled }: Known) -> Self {
        Self {
            name: endpoint.name.clone(),
            origin: endpoint.origin(),
            secrets: endpoint.secrets.len(),
            timeout_ms: endpoint.timeout.as_millis() as u64,
            rate: endpoint.rate,
            disabled: disabled.is_some(),
            reason: disabled,
        }
    }
}

fn file(api: &Api) -> Result<&(LiveEndpoints, Sender), Problem> {
    api.endpoints.as_ref().ok_or_else(|| {
        let detail = "this process does not know the endpoints of webhooks: set webhooks.file, as for the role webhooks";
        Problem::new(Kind::WebhooksRequired, detail)
    })
}

fn named(endpoints: &LiveEndpoints, name: &str) -> Result<Known, Problem> {
    endpoints.get(name).ok_or_else(|| {
        let detail = format!("no endpoint {name:?} is in the file of endpoints (webhooks.file)");
        Problem::new(Kind::NotFound, detail)
    })
}

/// Lists the endpoints of webhooks. For users with a tag of RabbitMQ's, and tokens with the scope read.
#[utoipa::path(
    get, path = "/v1/endpoints", tag = "webhooks", operation_id = "endpoints",
    responses(
        (status = 200, description = "All of the file", body = Endpoints),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    has_a_tag(&caller).await?;
    let (endpoints, _) = file(&api)?;
    let endpoints = endpoints.all().into_iter().map(EndpointShown::from).collect();
    Ok(respond(200, to_json(&Endpoints { endpoints })))
}

/// Shows an endpoint of webhooks. For users with a tag of RabbitMQ's, and tokens with the scope read.
#[utoipa::path(
    get, path = "/v1/endpoints/{name}", tag = "webhooks", operation_id = "endpoint",
    params(("name" = String, Path, description = "As the file has it")),
    responses(
        (status = 200, description = "What the file says of it, and whether it is disabled", body = EndpointShown),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.may(Scope::Read)?;
    has_a_tag(&caller).await?;
    let known = named(&file(&api)?.0, &name)?;
    Ok(respond(200, to_json(&EndpointShown::from(known))))
}

/// Sends a signed webhook to an endpoint now, once, and tells what it answers: `{"type":"dormouse.test","endpoint":…}`. A
/// disabled one is tried, too. For users with a tag of RabbitMQ's, and tokens with the scope operate.
#[utoipa::path(
    post, path = "/v1/endpoints/{name}:test", tag = "webhooks", operation_id = "testEndpoint",
    params(("name" = String, Path, description = "As the file has it")),
    request_body(content = Option<TestRequest>, description = "May be absent"),
    responses(
        (status = 200, description = "It was tried; `outcome` says what came of it", body = Tested),
        (status = "default", description = "A problem", body = Document, content_type = "application/problem+json"),
    )
)]
pub async fn test(
    State(api): State<Api>,
    caller: Caller,
    Path(path): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let name = path.strip_suffix(TEST).ok_or_else(|| {
        let detail =
            format!("a POST to an endpoint takes a verb behind it, and {path:?} has none: {TEST}");
        Problem::new(Kind::NotFound, detail)
    })?;
    caller.may(Scope::Operate)?;
    let bytes = whole(body, api.config.api.max_body_bytes).await?;
    let asked: TestRequest = if bytes.is_empty() { <_>::default() } else { object(&bytes)? };
    let path = asked.path.unwrap_or_default();
    caller.does(format!("endpoint:{name} path={path}"));
    has_a_tag(&caller).await?;
    let (endpoints, sender) = file(&api)?;
    let Known { endpoint, .. } = named(endpoints, name)?;
    let _turn = turn(&api).await?;
    let tried = try_out(sender, &endpoint, &path).await;
    let Tried { id, outcome, status, detail, took, answer } =
        tried.map_err(|fault| Problem::new(Kind::Invalid, format!("{path:?}: {fault}")))?;
    caller.does(format!("endpoint:{name} path={path}: {outcome}"));
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let endpoint = endpoint.name.clone();
    let tested = Tested { endpoint, webhook_id: id, outcome, status, detail, took_ms, answer };
    Ok(respond(200, to_json(&tested)))
}
