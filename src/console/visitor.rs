//! Somebody who is logged in, with a request.

use std::net::IpAddr;
use std::sync::Arc;

use super::preferences::Theme;
use super::sessions::{By, May, Session};
use super::site::Site;
use crate::api::auth::caller::Caller;
use crate::api::problem::Problem;

/// Somebody who may look.
#[derive(Clone)]
pub struct Visitor {
    pub site: Site,
    pub session: Arc<Session>,
    pub address: IpAddr,
    pub theme: Theme,
    /// Path and query, to come back to.
    pub here: String,
    /// What lies in the DLQ, as it was seen last.
    pub dead: Option<u64>,
}

impl Visitor {
    pub fn may_act(&self) -> bool {
        self.session.may() == May::Act && !self.site.is_read_only()
    }

    /// What one who may only look lacks.
    pub fn why_not_act(&self) -> &'static str {
        match self.session.by {
            By::Password(_) => "Your tags let you look. To act takes policymaker or administrator.",
            By::Proxy => "You may look. To act takes a line of console.proxy_act.",
        }
    }

    /// As the user, over AMQP; as the service itself for whom a proxy has brought.
    ///
    /// Errors: RabbitMQ refuses, or cannot be reached.
    pub async fn caller(&self) -> Result<Caller, Problem> {
        let (pool, user) = (&self.site.api.pool, &self.session.user);
        Ok(match &self.session.by {
            By::Password(password) => Caller::of(pool.user(user, &password.0, self.address).await?),
            By::Proxy => Caller::named(pool.own().await?, user),
        })
    }
}
