//! A node as the management API lists it.

use serde::Deserialize;

/// What is asked of each node.
pub const NODE_COLUMNS: [&str; 12] = [
    "name",
    "running",
    "os_pid",
    "config_files",
    "mem_used",
    "mem_limit",
    "mem_alarm",
    "disk_free",
    "disk_free_limit",
    "disk_free_alarm",
    "fd_used",
    "fd_total",
];

/// A node of the cluster. What is optional is told of nodes that run only, some seconds after their start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NodeInfo {
    /// Such as `rabbit@one`.
    pub name: String,
    /// Whether it takes part in the cluster now.
    #[serde(default)]
    pub running: bool,
    /// Its Erlang VM, as its own machine counts processes.
    pub os_pid: Option<String>,
    /// As it read them when it started, on its own machine.
    pub config_files: Option<Vec<String>>,
    /// As RabbitMQ counts it for the alarm.
    #[serde(rename = "mem_used")]
    pub memory_bytes: Option<u64>,
    /// From which on it blocks publishers.
    #[serde(rename = "mem_limit")]
    pub memory_limit_bytes: Option<u64>,
    /// Whether it blocks them now, for its memory.
    #[serde(rename = "mem_alarm", default)]
    pub memory_alarm: bool,
    /// On the disk of its data.
    #[serde(rename = "disk_free")]
    pub disk_free_bytes: Option<u64>,
    /// Below which it blocks publishers.
    #[serde(rename = "disk_free_limit")]
    pub disk_free_limit_bytes: Option<u64>,
    /// Whether it blocks them now, for its disk.
    #[serde(rename = "disk_free_alarm", default)]
    pub disk_alarm: bool,
    /// File descriptors in use. 0 where it does not count them, since 4.0.
    pub fd_used: Option<u64>,
    /// File descriptors that it may have.
    pub fd_total: Option<u64>,
}
