//! Several private nodes as one cluster.

use std::path::Path;
use std::sync::Arc;

use super::{Epmd, Installation, Node, NodeError, NodeOptions};

/// Starts a node with each of these Erlang names and joins them: they know each other only through an epmd and a cookie of
/// their own, all on loopback. What lies in the directory goes first, since nodes of a cluster cannot begin again one
/// after another. `adapt` changes the options of each.
///
/// Errors: a node does not start or does not join. Not under Docker.
pub async fn cluster(
    installation: &Installation,
    directory: &Path,
    names: &[&str],
    cookie: &str,
    adapt: impl Fn(&mut NodeOptions),
) -> Result<Vec<Node>, NodeError> {
    let _ = std::fs::remove_dir_all(directory);
    let epmd = Arc::new(Epmd::start(installation).await?);
    let mut nodes = Vec::new();
    for name in names {
        let mut options = NodeOptions::new(directory.join(name)).passing_on_soon();
        options.name = Some((*name).to_owned());
        options.epmd = Some(epmd.clone());
        options.cookie = Some(cookie.to_owned());
        adapt(&mut options);
        let node = Node::start(installation, options).await?;
        if !nodes.is_empty() {
            for arguments in [&["stop_app"][..], &["join_cluster", names[0]], &["start_app"]] {
                node.ctl(arguments).await?;
            }
        }
        nodes.push(node);
    }
    Ok(nodes)
}
