//! Queues and what is bound to them: all that there are, or only those that somebody asks about, however many others there are.
//!
//! RabbitMQ walks through all queues of a virtual host for any list of them: a list of 100 beside 10,000 others is short, and
//! takes it a tenth of what a list of all takes. What is asked by its whole name does not grow with the others.

use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{BindingInfo, COLUMNS, ConsumerInfo, Management, ManagementError, QueueInfo, path};
use crate::config::Broker;

/// Requests under way at once: so many connections to one address are kept for the next.
const AT_ONCE: usize = 3;

/// Queues with one beginning of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuesOf {
    /// All of them.
    pub queues: Vec<QueueInfo>,
    /// How many the virtual host has besides.
    pub others: usize,
}

impl Management {
    /// All queues and streams of the virtual host.
    pub async fn queues(&self, vhost: &str) -> Result<Vec<QueueInfo>, ManagementError> {
        self.get(path(&["queues", vhost]) + "?columns=" + &COLUMNS.join(",")).await
    }

    /// The queues and streams whose names begin with `prefix`, which has letters, digits, `.`, `_` and `-` only: what others
    /// there are, and how many, makes no difference to the length of the answer. A request for every 500.
    pub async fn queues_of(&self, vhost: &str, prefix: &str) -> Result<QueuesOf, ManagementError> {
        /// The most that RabbitMQ gives out at once.
        const PAGE: usize = 500;
        #[derive(Deserialize)]
        struct Page {
            items: Vec<QueueInfo>,
            page_count: usize,
            total_count: usize,
        }
        let prefix = prefix.replace('.', "\\.");
        let name = utf8_percent_encode(&prefix, NON_ALPHANUMERIC);
        let (mut queues, mut number) = (Vec::new(), 1);
        loop {
            let query = format!(
                "?page={number}&page_size={PAGE}&use_regex=true&name=%5E{name}&columns={}",
                COLUMNS.join(",")
            );
            let page: Page = self.get(path(&["queues", vhost]) + &query).await?;
            queues.extend(page.items);
            if number >= page.page_count {
                let others = page.total_count.saturating_sub(queues.len());
                return Ok(QueuesOf { queues, others });
            }
            number += 1;
        }
    }

    /// Those of these queues that are listed. A request each.
    pub async fn queues_named(
        &self,
        vhost: &str,
        names: &[&str],
    ) -> Result<Vec<QueueInfo>, ManagementError> {
        let columns = format!("?columns={}", COLUMNS.join(","));
        let paths = names.iter().map(|name| path(&["queues", vhost, name]) + &columns);
        self.each(paths.collect()).await
    }

    /// One queue of the virtual host that `broker.uri` names; `None` if it is not listed. The error is a
    /// sentence: who asks goes on without the answer.
    pub async fn queue(broker: &Broker, name: &str) -> Result<Option<QueueInfo>, String> {
        let uri = broker.uri.first().ok_or("broker.uri is empty")?;
        let vhost = uri.virtual_host().ok_or("broker.uri names no virtual host")?;
        let asked = async { Self::of(broker)?.queues_named(&vhost, &[name]).await };
        let queues = asked.await.map_err(|error| error.to_string())?;
        Ok(queues.into_iter().next())
    }

    /// The consumers of one queue; none if it is not listed.
    pub async fn consumers_of(
        &self,
        vhost: &str,
        queue: &str,
    ) -> Result<Vec<ConsumerInfo>, ManagementError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            consumer_details: Vec<ConsumerInfo>,
        }
        let found =
            self.found(path(&["queues", vhost, queue]) + "?columns=consumer_details").await?;
        Ok(found.map_or_else(Vec::new, |Found { consumer_details }| consumer_details))
    }

    /// All bindings of the virtual host, those of the default exchange (an empty source) included.
    pub async fn bindings(&self, vhost: &str) -> Result<Vec<BindingInfo>, ManagementError> {
        self.get(path(&["bindings", vhost])).await
    }

    /// The bindings from and to these exchanges, and those to these queues but for the default exchange's. Two requests for
    /// each exchange, and one for each queue.
    pub async fn bindings_around(
        &self,
        vhost: &str,
        exchanges: &[&str],
        queues: &[&str],
    ) -> Result<Vec<BindingInfo>, ManagementError> {
        let of_exchange = |name: &&str| {
            ["source", "destination"].map(|end| path(&["exchanges", vhost, name, "bindings", end]))
        };
        let of_queue = |name: &&str| path(&["queues", vhost, name, "bindings"]);
        let paths = exchanges.iter().flat_map(of_exchange).chain(queues.iter().map(of_queue));
        let found: Vec<Vec<BindingInfo>> = self.each(paths.collect()).await?;
        let mut bindings = Vec::new();
        for binding in found.into_iter().flatten() {
            // one between two of them is told by both
            if !binding.source.is_empty() && !bindings.contains(&binding) {
                bindings.push(binding);
            }
        }
        Ok(bindings)
    }

    /// What is there of all these, in their order.
    async fn each<T: DeserializeOwned>(
        &self,
        paths: Vec<String>,
    ) -> Result<Vec<T>, ManagementError> {
        let asked: Vec<_> = paths.into_iter().map(|path| self.found(path)).collect();
        let found: Vec<Option<T>> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}
