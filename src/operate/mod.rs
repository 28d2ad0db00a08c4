//! Use cases: what an operator wants of a broker, as values in and values out.
//!
//! Nothing here prints, parses arguments or asks a person, so that the command line, an HTTP API and a console
//! can stand over it. Each use case has an error of its own, whose text names the thing, the consequence and the
//! next step. What takes long tells a callback how far it is. What a person should see before it happens is two
//! steps: a plan, and carrying it out. What programs get of an outcome is its `document`.
//!
//! | | in → out |
//! |---|---|
//! | [`explain`] | a delay → the path of such a message |
//! | [`publish`] | a message and when it is due → confirmed, or why not |
//! | [`status`] | → how much sleeps where, and until when at most |
//! | [`plan`], [`apply`], [`verify`] | → what is missing; the same, created; what is not as it should be |
//! | [`drain`] | older versions and layouts → their messages in the current one |
//! | [`destroy`] | everything of ours → gone |
//! | [`dlq`] | what could not be delivered → listed, shown, sent again, deleted |
//! | [`retry`] | a client's queue → gets back what it rejects, or no more |

mod amount;
pub mod apply;
pub mod backlog;
pub mod destroy;
pub mod dlq;
pub mod drain;
pub mod explain;
pub mod plan;
pub mod publish;
pub mod retry;
pub mod status;
pub mod verify;
mod vhost;
mod when;

pub use amount::{count, number};
pub use vhost::{ManagementNeeded, Vhost, user_name, vhost_name};
pub use when::When;
