//! Who publishes to Dormouse now, and how: what the management API tells of channels.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::inventory::{ChannelInfo, ConnectionInfo, Visible};
use crate::management::ManagementError;
use crate::operate::Vhost;
use crate::operate::vhost::look;
use crate::topology::Topology;

/// Channels that are asked one by one where they publish to.
const MOST_ASKED: usize = 50;

/// Begins what the library calls its connections. It confirms all, and publishes again what was not confirmed.
const OF_LIBRARY: &str = "dormouse client";

/// An open channel that has published, and for all that is known to an exchange of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    pub channel: String,
    pub user: String,
    pub confirms: bool,
    /// Whether it is known that it publishes to us. RabbitMQ tells with `management.rates_mode = detailed` only:
    /// <https://www.rabbitmq.com/docs/management#disable-stats>
    pub is_known: bool,
    /// Of `dormouse_client`, and so of the HTTP API.
    pub is_library: bool,
}

/// Those that are seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publishers {
    pub publishers: Vec<Publisher>,
    /// Channels that publish somewhere, and were not asked where.
    pub not_asked: usize,
}

/// Asks for channels that have published anything, and then each of them where. Workers and commands of ours are left out.
pub async fn seen(config: &Config, vhost: &Vhost) -> Result<Visible<Publishers>, ManagementError> {
    let management = vhost.management();
    let channels = match look(management.channels(&vhost.name).await)? {
        Ok(channels) => channels,
        Err(why) => return Ok(Err(why)),
    };
    let connections = management.connections(&vhost.name).await?;
    let connections: BTreeMap<&str, &ConnectionInfo> =
        connections.iter().map(|connection| (&*connection.name, connection)).collect();
    let doors = Topology::of(config);
    let (mut found, mut asked) = (Publishers::default(), 0);
    for channel in channels.iter().filter(|channel| channel.published() > 0) {
        let connection = channel.connection().and_then(|name| connections.get(name));
        match connection.filter(|connection| connection.is_ours()) {
            Some(ours) if is_library(ours) => found.publishers.push(publisher(channel, true)),
            Some(_) => {}
            None if asked == MOST_ASKED => found.not_asked += 1,
            None => {
                asked += 1;
                let publishes = management.publishes(&channel.name).await?;
                let mut to = publishes.iter().filter_map(|publishes| publishes.exchange());
                let is_known = to.any(|exchange| doors.has_exchange(exchange));
                if is_known || publishes.is_empty() {
                    let publisher = publisher(channel, false);
                    found.publishers.push(Publisher { is_known, ..publisher });
                }
            }
        }
    }
    Ok(Ok(found))
}

fn is_library(connection: &ConnectionInfo) -> bool {
    connection.user_provided_name.as_deref().is_some_and(|name| name.starts_with(OF_LIBRARY))
}

fn publisher(channel: &ChannelInfo, is_library: bool) -> Publisher {
    Publisher {
        channel: channel.name.clone(),
        user: channel.user.clone().unwrap_or_default(),
        confirms: channel.confirm == Some(true),
        is_known: is_library,
        is_library,
    }
}
