//! The certificates that the nodes show, for who wants to know how long they last.

use tokio::time::timeout;

use super::connection::{lost, parsed, tls};
use super::{AmqpError, stream};
use crate::config::Broker;

/// What each node shows as its certificate, in DER, or why none could be had. Nothing of a node without TLS.
///
/// Errors: a file of the configuration cannot be read.
pub async fn served_certificates(
    broker: &Broker,
) -> Result<Vec<(String, Result<Vec<u8>, String>)>, AmqpError> {
    let tls = tls(broker).await?;
    let mut served = Vec::new();
    for uri in broker.uri.iter().filter(|uri| uri.scheme() == "amqps") {
        let shown = async { stream::served_certificate(&parsed(uri)?, &tls).await.map_err(lost) };
        let shown = match timeout(broker.connect_timeout, shown).await {
            Ok(shown) => shown.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        };
        served.push((uri.to_string(), shown));
    }
    Ok(served)
}
