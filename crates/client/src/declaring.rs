//! Declares a queue of a client's own.

use super::error::ClientError;
use crate::amqp::Connection;
use crate::amqp::declare::{DeclareError, declare};
use crate::topology::{Argument, Arguments, DELIVERY_LIMIT, Queue, Topology};

/// A durable quorum queue that drops nothing over its number of deliveries, with `further` arguments, unless it stands
/// there.
///
/// Errors: it stands there with other arguments, or is not for this user to declare.
pub async fn declare_queue(
    connection: &Connection,
    name: &str,
    further: impl IntoIterator<Item = (&'static str, Argument)>,
) -> Result<(), ClientError> {
    let mut arguments = Arguments::from([
        ("x-queue-type", Argument::Text("quorum".into())),
        ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
    ]);
    arguments.extend(further);
    let queues = vec![Queue { name: name.to_owned(), arguments }];
    let topology = Topology { queues, ..Topology::default() };
    declare(connection, &topology).await.map_err(|error| {
        let problem = match error {
            DeclareError::Different { answer, .. } => {
                format!("it stands there with other arguments ({answer})")
            }
            DeclareError::Refused { answer, .. }
            | DeclareError::UnknownArgument { answer, .. }
            | DeclareError::Limit { answer, .. }
            | DeclareError::Precondition { answer, .. } => answer,
            DeclareError::Failed { source, .. } => source.to_string(),
        };
        ClientError::Queue { queue: name.to_owned(), problem }
    })
}
