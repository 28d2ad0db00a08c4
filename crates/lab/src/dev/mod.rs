//! A private RabbitMQ node for `dormouse-lab dev`, `make demo` and the tests.
//!
//! [`Installation`] is where the broker's programs are: this machine, a debootstrapped root, or Docker.
//! [`Node`] is one running broker with its own directory, ports, cookie and epmd, bound to loopback. It never
//! touches a broker of the system, and it ends with the process that started it, even after `kill -9`.
//!
//! ```no_run
//! # async fn example() -> Result<(), dormouse_lab::dev::NodeError> {
//! use dormouse_lab::dev::{Installation, Node, NodeOptions};
//!
//! let installation = Installation::find(None)?;
//! let mut node = Node::start(&installation, NodeOptions::new(".dormouse/node")).await?;
//! println!("RabbitMQ {} at {}", node.version(), node.amqp_uri());
//! node.add_vhost("orders").await?;
//! node.kill();
//! node.start_again().await?;
//! node.stop().await?;
//! # Ok(())
//! # }
//! ```

mod api;
mod cluster;
mod container;
mod environment;
mod epmd;
mod error;
pub mod http;
mod installation;
mod log;
mod node;
mod ports;
mod process;
mod worker;

pub use cluster::cluster;
pub use environment::NodeOptions;
pub use epmd::Epmd;
pub use error::NodeError;
pub use installation::Installation;
pub use node::Node;
use process::Process;
pub use worker::{WorkerProcess, WorkerProcessError};
