//! Webhooks: what is due for an HTTP endpoint is sent there, signed, and again until it is taken.
//!
//! ```text
//! delay exchange ─▶ levels ─▶ worker ─▶ queue of webhooks ─▶ dispatcher ─▶ POST to the endpoint
//!                     ▲                                          │ 2xx: ack
//!                     └────────── a copy, after a pause ◀────────┘ otherwise; or the DLQ
//! ```
//!
//! A message names its endpoint in the header `dormouse-endpoint`; where that is, the operator says in a file. A pause
//! is a message that sleeps: hours of it take no memory here.

mod address;
mod connector;
mod dispatcher;
mod endpoints;
mod hosts;
mod live;
mod metrics;
mod outcome;
mod pace;
mod sender;
mod signature;
mod trial;

use std::io;
use std::path::PathBuf;

pub use dispatcher::{ATTEMPTS, ENDPOINT, PATH, run};
pub use endpoints::{Endpoint, Endpoints, Faults, PathFault, check_path};
pub use live::{Known, LiveEndpoints};
pub use sender::Sender;
pub use signature::{Secret, SecretFault, signatures};
pub use trial::{Tried, try_out};

/// Why no webhooks are sent.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("webhooks.file is not set: name the file with the endpoints that webhooks may go to")]
    NoFile,
    #[error("webhooks.file {}: {problem}", file.display())]
    Unreadable { file: PathBuf, problem: io::Error },
    #[error("webhooks.file {}:\n{faults}", file.display())]
    Faults { file: PathBuf, faults: Faults },
    #[error("no certificate authorities are found that https endpoints could be checked by: {0}")]
    Certificates(io::Error),
}
