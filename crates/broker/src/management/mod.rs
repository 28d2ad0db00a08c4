//! The management API, as far as Dormouse needs it: what stands on the broker, what the effective
//! policies make of it, and how much is in it.
//!
//! In: the address of RabbitMQ's `rabbitmq_management` plugin. Out: values, the same for RabbitMQ
//! 3.10 to 4.3; the HTTP client behind them stays in this folder.
//!
//! Statistics lag. A queue is listed as soon as it is declared, but its counters and its *effective*
//! policy come from the broker's statistics, 2 to 9 s after the declare and every 5 s from then on.
//! Until then they are `None`: never take a missing number for zero, nor a missing policy for none.
//!
//! [RabbitMQ's reference](https://www.rabbitmq.com/docs/http-api-reference)

mod address;
mod error;
mod http;
mod queues;
mod traffic;

use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub use dormouse_core::inventory::*;
pub use error::ManagementError;
pub use queues::QueuesOf;
pub use traffic::ClockSaid;

use crate::config::Broker;
use http::{Http, Request};

/// What [`Management::put_user_limit`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserLimit {
    /// Open at once, on all its connections.
    Channels,
    /// Open at once.
    Connections,
}

/// A user's view of one broker or cluster through its management API. Cheap to clone.
///
/// Every call is one request, or two where it says so, and is never repeated. A call that is dropped
/// still ends by itself, within 15 s at the latest.
///
/// Reading a virtual host takes the tag `management` and a permission on it; what needs more says so.
#[derive(Debug, Clone)]
pub struct Management {
    http: Http,
}

impl Management {
    /// Takes `http(s)://user:password@host:port[/prefix]`, user and password percent-encoded
    /// (`guest:guest` if left out). No connection is made yet.
    ///
    /// `ca_file` is the PEM file of the authority that signed the broker's certificate, for
    /// `https://`; without it the public authorities are trusted.
    pub fn new(uri: &str, ca_file: Option<&Path>) -> Result<Self, ManagementError> {
        Ok(Self { http: Http::new(address::Address::parse(uri)?, ca_file)? })
    }

    /// The one at `broker.management_uri`, else at the address that usually belongs to the first AMQP one.
    pub fn of(broker: &Broker) -> Result<Self, ManagementError> {
        let given = broker.management_uri.as_ref().map(|uri| uri.expose().to_owned());
        let guessed = || Self::uri_from_amqp(broker.uri.first()?.expose());
        let uri = given.or_else(guessed).ok_or_else(|| ManagementError::InvalidUri {
            reason: "none is given, and none can be guessed from the AMQP address".to_owned(),
        })?;
        Self::new(&uri, broker.ca_file.as_deref())
    }

    /// Where the management API of the broker at `amqp_uri` usually answers: same host and
    /// credentials, `http` for `amqp` and `https` for `amqps`, and the port plus 10,000, which makes
    /// 15672 of 5672 and 15671 of 5671. `None` if `amqp_uri` is not an AMQP address.
    pub fn uri_from_amqp(amqp_uri: &str) -> Option<String> {
        address::from_amqp(amqp_uri)
    }

    /// HTTP's `Authorization` as the user of its URI: a secret. Dormouse's own API takes it, too.
    pub fn authorization(&self) -> &str {
        self.http.authorization()
    }

    /// Version, name and nodes of the cluster, in two requests. The nodes need the tag `monitoring`.
    pub async fn overview(&self) -> Result<Overview, ManagementError> {
        #[derive(Deserialize)]
        struct Node {
            name: String,
        }
        let overview: Overview = self.get(path(&["overview"])).await?;
        let nodes: Result<Vec<Node>, _> = self.get(path(&["nodes"]) + "?columns=name").await;
        let node_names = match nodes {
            Ok(nodes) => Some(nodes.into_iter().map(|node| node.name).collect()),
            Err(ManagementError::Unauthorised { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Overview { node_names, ..overview })
    }

    /// Process ids of the running nodes' Erlang VMs, each as its own machine counts them. Needs the tag
    /// `monitoring`; a node is left out for the first seconds after its start.
    pub async fn node_pids(&self) -> Result<Vec<u32>, ManagementError> {
        #[derive(Deserialize)]
        struct Node {
            os_pid: Option<String>,
        }
        let nodes: Vec<Node> = self.get(path(&["nodes"]) + "?columns=os_pid").await?;
        Ok(nodes.iter().filter_map(|node| node.os_pid.as_ref()?.parse().ok()).collect())
    }

    /// Who we are to the broker, and with which tags.
    pub async fn whoami(&self) -> Result<Whoami, ManagementError> {
        self.get(path(&["whoami"])).await
    }

    /// What was delivered on a channel and is not acked; none if RabbitMQ does not know the channel, or has not counted. The
    /// channels of other users take the tag `monitoring`.
    pub async fn unacked_on(&self, channel: &str) -> Result<Option<u64>, ManagementError> {
        #[derive(Deserialize)]
        struct Found {
            messages_unacknowledged: Option<u64>,
        }
        let query = "?columns=messages_unacknowledged";
        let found: Option<Found> = self.found(path(&["channels", channel]) + query).await?;
        Ok(found.and_then(|found| found.messages_unacknowledged))
    }

    /// The version of the node that answers.
    pub async fn version(&self) -> Result<String, ManagementError> {
        #[derive(Deserialize)]
        struct Found {
            rabbitmq_version: String,
        }
        let found: Found = self.get(path(&["overview"]) + "?columns=rabbitmq_version").await?;
        Ok(found.rabbitmq_version)
    }

    /// All consumers of the virtual host, on all connections.
    pub async fn consumers(&self, vhost: &str) -> Result<Vec<ConsumerInfo>, ManagementError> {
        self.get(path(&["consumers", vhost]) + "?columns=" + &CONSUMER_COLUMNS.join(",")).await
    }

    /// The connections to the virtual host: all of them with the tag `monitoring`, else the user's own.
    pub async fn connections(&self, vhost: &str) -> Result<Vec<ConnectionInfo>, ManagementError> {
        let columns = CONNECTION_COLUMNS.join(",");
        self.get(path(&["vhosts", vhost, "connections"]) + "?columns=" + &columns).await
    }

    /// All exchanges of the virtual host, `amq.*` and the default exchange (an empty name) included.
    pub async fn exchanges(&self, vhost: &str) -> Result<Vec<ExchangeInfo>, ManagementError> {
        self.get(path(&["exchanges", vhost])).await
    }

    /// How many queues the virtual host may have; none is no limit.
    pub async fn max_queues(&self, vhost: &str) -> Result<Option<usize>, ManagementError> {
        let limits: Vec<VhostLimits> = self.get(path(&["vhost-limits", vhost])).await?;
        Ok(limits.iter().find_map(VhostLimits::max_queues))
    }

    /// On 3.10 only an `administrator` may read them.
    pub async fn feature_flags(&self) -> Result<Vec<FeatureFlag>, ManagementError> {
        self.get(path(&["feature-flags"])).await
    }

    /// The users' policies of the virtual host, whether or not they match anything.
    pub async fn policies(&self, vhost: &str) -> Result<Vec<Policy>, ManagementError> {
        self.get(path(&["policies", vhost])).await
    }

    /// The operators' policies of the virtual host, which limit what users' policies and arguments say.
    pub async fn operator_policies(&self, vhost: &str) -> Result<Vec<Policy>, ManagementError> {
        self.get(path(&["operator-policies", vhost])).await
    }

    /// Creates or replaces the policy of that name. Needs the tag `policymaker`.
    pub async fn put_policy(&self, vhost: &str, policy: &Policy) -> Result<(), ManagementError> {
        self.send(Request::put(path(&["policies", vhost, &policy.name]), json!(policy))).await
    }

    /// Needs the tag `policymaker`.
    pub async fn delete_policy(&self, vhost: &str, name: &str) -> Result<(), ManagementError> {
        self.send(Request::delete(path(&["policies", vhost, name]))).await
    }

    /// The names of the virtual hosts that the user may see.
    pub async fn virtual_hosts(&self) -> Result<Vec<String>, ManagementError> {
        #[derive(Deserialize)]
        struct VirtualHost {
            name: String,
        }
        let vhosts: Vec<VirtualHost> = self.get(path(&["vhosts"]) + "?columns=name").await?;
        Ok(vhosts.into_iter().map(|vhost| vhost.name).collect())
    }

    /// Creates the virtual host unless it exists; RabbitMQ gives its creator all permissions on it.
    /// Needs the tag `administrator`.
    pub async fn put_vhost(&self, vhost: &str) -> Result<(), ManagementError> {
        self.send(Request::put(path(&["vhosts", vhost]), json!({}))).await
    }

    /// Deletes the virtual host with everything in it. Needs the tag `administrator`.
    pub async fn delete_vhost(&self, vhost: &str) -> Result<(), ManagementError> {
        self.send(Request::delete(path(&["vhosts", vhost]))).await
    }

    /// Creates or replaces the user. Needs the tag `administrator`.
    pub async fn put_user(
        &self,
        user: &str,
        password: &str,
        tags: &[&str],
    ) -> Result<(), ManagementError> {
        let body = json!({ "password": password, "tags": tags.join(",") });
        self.send(Request::put(path(&["users", user]), body)).await
    }

    /// Needs the tag `administrator`.
    pub async fn delete_user(&self, user: &str) -> Result<(), ManagementError> {
        self.send(Request::delete(path(&["users", user]))).await
    }

    /// Limits what the user may have open, on all connections together. Needs the tag `administrator`.
    /// <https://www.rabbitmq.com/docs/user-limits>
    pub async fn put_user_limit(
        &self,
        user: &str,
        limit: UserLimit,
        value: u32,
    ) -> Result<(), ManagementError> {
        let limit = match limit {
            UserLimit::Channels => "max-channels",
            UserLimit::Connections => "max-connections",
        };
        self.send(Request::put(path(&["user-limits", user, limit]), json!({ "value": value })))
            .await
    }

    /// What the user may do in the virtual host; `None` if nothing, or if one of the two does not
    /// exist. Needs the tag `administrator`, even for the user's own.
    pub async fn permissions_of(
        &self,
        user: &str,
        vhost: &str,
    ) -> Result<Option<Permissions>, ManagementError> {
        self.found(path(&["permissions", vhost, user])).await
    }

    /// Replaces what the user may do in the virtual host, as three regular expressions over the names
    /// of queues and exchanges; an empty one allows nothing. Needs the tag `administrator`.
    pub async fn put_permissions(
        &self,
        vhost: &str,
        user: &str,
        configure: &str,
        write: &str,
        read: &str,
    ) -> Result<(), ManagementError> {
        let body = json!({ "configure": configure, "write": write, "read": read });
        self.send(Request::put(path(&["permissions", vhost, user]), body)).await
    }

    /// Replaces which routing keys of one topic exchange the user may publish and bind with, as two
    /// regular expressions. The exchange has to stand. Needs the tag `administrator`.
    pub async fn put_topic_permissions(
        &self,
        vhost: &str,
        user: &str,
        exchange: &str,
        write: &str,
        read: &str,
    ) -> Result<(), ManagementError> {
        let body = json!({ "exchange": exchange, "write": write, "read": read });
        self.send(Request::put(path(&["topic-permissions", vhost, user]), body)).await
    }

    /// Deletes the queue with all its messages, used or not. Needs `configure` on it.
    pub async fn delete_queue(&self, vhost: &str, name: &str) -> Result<(), ManagementError> {
        self.send(Request::delete(path(&["queues", vhost, name]))).await
    }

    /// Deletes the exchange with its bindings, used or not. Needs `configure` on it.
    pub async fn delete_exchange(&self, vhost: &str, name: &str) -> Result<(), ManagementError> {
        self.send(Request::delete(path(&["exchanges", vhost, name]))).await
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, ManagementError> {
        let request = Request::get(path);
        let body = self.http.send(request.clone()).await?;
        serde_json::from_slice(&body).map_err(|error| self.http.unexpected(&request, error))
    }

    /// None if there is no such thing.
    async fn found<T: DeserializeOwned>(&self, path: String) -> Result<Option<T>, ManagementError> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(ManagementError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, request: Request) -> Result<(), ManagementError> {
        self.http.send(request).await.map(|_| ())
    }
}

/// Names may hold any character (`/` is the usual virtual host), so each one is encoded on its own.
fn path(segments: &[&str]) -> String {
    let encoded = segments.iter().map(|name| utf8_percent_encode(name, NON_ALPHANUMERIC_BUT_DASH));
    encoded.fold("/api".to_owned(), |path, name| format!("{path}/{name}"))
}

/// The dash stays: it is in RabbitMQ's own words (`feature-flags`).
const NON_ALPHANUMERIC_BUT_DASH: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-');
