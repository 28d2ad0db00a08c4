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
//! | [`command`] | keys → cancelled or put off, with an answer for each |
//! | [`schedules`] | a file of recurring schedules → what it would change; the same, carried out |
//! | [`status`] | → how much sleeps where, and until when at most |
//! | [`plan`], [`apply`], [`verify`] | → what is missing; the same, created; what is not as it should be |
//! | [`drain`] | older versions and layouts → their messages in the current one |
//! | [`migrate`](mod@migrate) | another way to delay messages → here |
//! | [`transfer`] | what sleeps on another broker → here |
//! | [`destroy`] | everything of ours → gone |
//! | [`doctor`] | → what could lose, delay, duplicate or hide messages here, question by question |
//! | [`dlq`] | what could not be delivered → listed, shown, sent again, deleted |
//! | [`retry`] | a client's queue → gets back what it rejects, or no more |

mod amount;
pub mod apply;
mod asking;
pub mod backlog;
pub mod command;
mod confirming;
pub mod destroy;
pub mod dlq;
pub mod doctor;
pub mod drain;
pub mod explain;
pub mod log;
pub mod migrate;
pub mod plan;
pub mod publish;
pub mod retry;
pub mod schedules;
pub mod status;
pub mod told;
pub mod transfer;
pub mod verify;
mod vhost;
mod when;

pub use amount::{count, number};
pub use confirming::{Problem, PublishError};
pub use vhost::{ManagementNeeded, Others, Vhost, user_name, vhost_name};
pub use when::When;

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Config;

    fn is_send(_: impl Send) {}

    /// A server runs each of them on whatever thread is free.
    #[test]
    fn a_use_case_may_move_between_threads() {
        let (config, stop) = (Config::default(), CancellationToken::new());
        let all = dlq::Selection::All;
        is_send(dlq::list(&config, &all, 1, |_| ()));
        is_send(dlq::show(&config, "id", |_| ()));
        is_send(dlq::purge(&config, &all, true, |_| ()));
        let again = dlq::redrive::Again { when: When::Now, to: None, incomplete: false };
        is_send(dlq::redrive::redrive(&config, &all, &again, |_| ()));
        is_send(async {
            if let Some(plan) = drain::plan(&config, None).await? {
                drain::carry_out(&plan, &config, true, &stop, |_| ()).await?;
            }
            Ok::<_, drain::DrainError>(())
        });
        is_send(async {
            if let Some(plan) = destroy::plan(&config, false).await? {
                destroy::carry_out(plan, |_| ()).await?;
            }
            Ok::<_, destroy::DestroyError>(())
        });
        let keys = command::Keys::checked(&["key".into()]).expect("a key");
        is_send(command::command(&config, &keys, command::Command::Cancel { due_by: None }, true));
        is_send(apply::apply(&config));
        is_send(verify::verify(&config, Others::All));
        let clock = crate::worker::Clock::default();
        is_send(doctor::doctor(&config, &clock, &doctor::Look::default()));
        is_send(status::status(&config, &crate::worker::Clock::default()));
        is_send(retry::enable::plan(&config, "queue", false));
    }
}
