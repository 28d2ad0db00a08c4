//! The HTTP API: schedules, cancels and looks, as whoever asks may. Over the library and the use cases of
//! [`operate`](crate::operate).
//!
//! | | in → out |
//! |---|---|
//! | [`server`] | connections → requests, within bounds; a stop that loses none |
//! | [`auth`] | a header → who asks, connected to RabbitMQ as who that is |
//! | [`request`], [`destination`], [`check`] | JSON → what the library publishes, or why not. Pure |
//! | `observed` | a request → what is counted of it, and the line that says who did what |
//! | [`once`], [`memory`] | an `Idempotency-Key` → carry it out, or what it came to |
//! | [`publish`] | a message → what is known of it, never more |
//! | [`problem`], [`trouble`] | what went wrong → RFC 9457 |
//! | `messages`, `commands`, `schedules`, `look`, `dlq`, `events`, `index`, `endpoints` | the routes |

use tokio_util::sync::CancellationToken;

mod answer;
pub mod auth;
mod body;
pub mod check;
pub mod commands;
pub mod connections;
mod delay_service;
pub mod destination;
pub mod dlq;
mod endpoints;
pub mod events;
pub mod gate;
mod index;
pub mod look;
pub mod memory;
pub mod messages;
mod metrics;
mod observed;
mod once;
mod openapi;
mod origin;
pub mod problem;
mod publish;
pub mod question;
pub mod request;
mod routes;
pub mod schedules;
mod server;
mod shown;
pub mod state;
mod tls;
pub mod trouble;
pub mod watching;

pub use axum::Router;
pub use routes::{document, router};
pub use server::Server;
pub use state::{Api, ApiError, Beside, Index};

use state::Shared;

use crate::config::Config;
use crate::worker::Clock;

/// Answers on `server` until `stop`, and then what is under way, for no longer than `stop.grace`.
///
/// Errors: a file of tokens that cannot be read. RabbitMQ need not be there: requests are told.
pub async fn run(
    config: Config,
    server: Server,
    clock: Clock,
    beside: Beside,
    stop: CancellationToken,
) -> Result<(), ApiError> {
    let api = open(config, clock, beside, stop.clone())?;
    let routes = router(&api);
    serve(api, server, routes, stop).await
}

/// What routes share, before there are any.
///
/// Errors: a file of tokens that cannot be read.
pub fn open(
    config: Config,
    clock: Clock,
    beside: Beside,
    stop: CancellationToken,
) -> Result<Api, ApiError> {
    Shared::open(config, clock, beside, stop)
}

/// Answers on `server` with `routes`, as [`run`] does.
pub async fn serve(
    api: Api,
    server: Server,
    routes: Router,
    stop: CancellationToken,
) -> Result<(), ApiError> {
    let goes_on = goes_on(&api, &server);
    metrics::describe();
    let served = server.run(api.clone(), routes, stop);
    let served = tokio::select! {
        served = served => served,
        () = goes_on => unreachable!("it has no end"),
    };
    api.pool.close().await;
    served
}

/// What goes on beside the requests.
fn goes_on(api: &Api, server: &Server) -> impl Future<Output = ()> + use<> {
    let (api, tls) = (api.clone(), server.tls());
    async move {
        let idle = async {
            loop {
                tokio::time::sleep(auth::pool::LOOK).await;
                api.pool.close_idle();
            }
        };
        let tls = async {
            match tls {
                Some(tls) => tls.follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(idle, tls, api.tokens.follow(), events::watch(&api));
    }
}
