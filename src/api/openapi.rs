//! The OpenAPI document.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use super::state::Api;

/// Delayed delivery for RabbitMQ over HTTP. Errors are `application/problem+json` (RFC 9457) with a stable `type`. Nothing
/// is answered with 2xx that RabbitMQ has not confirmed.
#[derive(OpenApi)]
#[openapi(
    info(title = "Dormouse", license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")),
    modifiers(&Logins),
    // their paths have a verb behind the parameter, which the router does not know
    paths(super::commands::run_now, super::endpoints::test, super::schedules::act),
    security(("basic" = []), ("token" = [])),
    tags(
        (name = "messages", description = "Schedule, cancel, put off, bring forward"),
        (name = "schedules", description = "What recurs: needs commands"),
        (name = "look", description = "What sleeps where"),
        (name = "index", description = "What sleeps, message by message: needs the ledger"),
        (name = "delay-service", description = "As another delay service answers; off unless api.delay_service"),
        (name = "dlq", description = "What could not be delivered"),
        (name = "webhooks", description = "Endpoints, which the operator's file has: needs webhooks.file"),
    )
)]
struct Document;

struct Logins;

impl Modify for Logins {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut basic = Http::new(HttpAuthScheme::Basic);
        basic.description = Some("A RabbitMQ user: all is done with its own rights".into());
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.description =
            Some("A token of `dormouse token new`, with its scopes and targets".into());
        components.add_security_scheme("basic", SecurityScheme::Http(basic));
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// The routes begin here.
pub fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Document::openapi())
}
