//! Who publishes, what the nodes have left, and what time it is there.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::http::Request;
use super::{
    CHANNEL_COLUMNS, ChannelInfo, Management, ManagementError, NODE_COLUMNS, NodeInfo, PublishedTo,
    path,
};

/// What RabbitMQ's clock said, to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSaid {
    /// `Sun, 29 Nov 2026 21:40:45 GMT`, as HTTP has it.
    pub date: String,
    /// How long the question and its answer took.
    pub took: Duration,
}

impl Management {
    /// The channels of the virtual host: all of them with the tag `monitoring`, else the user's own.
    pub async fn channels(&self, vhost: &str) -> Result<Vec<ChannelInfo>, ManagementError> {
        let columns = CHANNEL_COLUMNS.join(",");
        self.get(path(&["vhosts", vhost, "channels"]) + "?columns=" + &columns).await
    }

    /// What a channel has published to which exchange; nothing if it is gone. Empty, too, where an operator has RabbitMQ
    /// count less.
    pub async fn publishes(&self, channel: &str) -> Result<Vec<PublishedTo>, ManagementError> {
        #[derive(Deserialize)]
        struct Detail {
            #[serde(default)]
            publishes: Vec<PublishedTo>,
        }
        match self.get::<Detail>(path(&["channels", channel])).await {
            Ok(detail) => Ok(detail.publishes),
            Err(ManagementError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// All nodes, running or not. Needs the tag `monitoring`.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, ManagementError> {
        self.get(path(&["nodes"]) + "?columns=" + &NODE_COLUMNS.join(",")).await
    }

    /// The time on the node that answers.
    pub async fn clock(&self) -> Result<ClockSaid, ManagementError> {
        let (request, asked) = (Request::get(path(&["whoami"])), Instant::now());
        let date = self.http.date(request.clone()).await?;
        let took = asked.elapsed();
        let without = || self.http.unexpected(&request, "it has no header Date");
        Ok(ClockSaid { date: date.ok_or_else(without)?, took })
    }
}
