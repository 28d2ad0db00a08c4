//! Somebody who is logged in, with a request.

use std::net::IpAddr;
use std::sync::Arc;

use super::preferences::Theme;
use super::sessions::{May, Session};
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
}

impl Visitor {
    pub fn may_act(&self) -> bool {
        self.session.may() == May::Act && !self.site.is_read_only()
    }

    /// As the user, over AMQP.
    ///
    /// Errors: RabbitMQ refuses, or cannot be reached.
    pub async fn caller(&self) -> Result<Caller, Problem> {
        let Session { user, password, .. } = &*self.session;
        let login = self.site.api.pool.user(user, &password.0, self.address).await?;
        Ok(Caller::of(login))
    }
}
