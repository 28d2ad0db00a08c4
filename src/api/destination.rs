//! In: the target of a request. Out: where that is, or why it is nowhere. Pure.

use std::fmt;

use super::problem::{Kind, Problem};
use super::request::TargetRequest;
use crate::webhooks::check_path;

/// Where a message goes. As a text, it is what a token's targets are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Through the default exchange.
    Queue(&'a str),
    Exchange {
        exchange: &'a str,
        routing_key: &'a str,
    },
    /// Of webhooks; the path may be empty.
    Endpoint {
        endpoint: &'a str,
        path: &'a str,
    },
}

impl<'a> Destination<'a> {
    /// Errors: it names nothing, or two things.
    pub fn of(target: &'a TargetRequest) -> Result<Self, Problem> {
        let TargetRequest { queue, exchange, routing_key, endpoint, path } = target;
        let (queue, exchange, endpoint) =
            (queue.as_deref(), exchange.as_deref(), endpoint.as_deref());
        let destination = match (queue, exchange, endpoint) {
            (Some(""), None, None) => return Err(invalid("the target's queue has no name")),
            (Some(queue), None, None) => Self::Queue(queue),
            (None, Some(""), None) => {
                return Err(invalid(
                    "the target's exchange has no name: for the default exchange give a queue",
                ));
            }
            (None, Some(exchange), None) => {
                Self::Exchange { exchange, routing_key: routing_key.as_deref().unwrap_or_default() }
            }
            (None, None, Some("")) => return Err(invalid("the target's endpoint has no name")),
            (None, None, Some(endpoint)) => {
                Self::Endpoint { endpoint, path: path.as_deref().unwrap_or_default() }
            }
            (None, None, None) => {
                return Err(invalid(
                    "the target names neither a queue nor an exchange nor an endpoint: give one of them",
                ));
            }
            _ => {
                return Err(invalid(
                    "the target names more than one of queue, exchange and endpoint: give one of them",
                ));
            }
        };
        match destination {
            Self::Queue(_) | Self::Endpoint { .. } if routing_key.is_some() => {
                return Err(invalid("the target has a routing_key, which is for an exchange"));
            }
            Self::Queue(_) | Self::Exchange { .. } if path.is_some() => {
                return Err(invalid("the target has a path, which is for an endpoint"));
            }
            Self::Endpoint { path, .. } if !path.is_empty() => {
                check_path(path).map_err(|fault| invalid(&format!("{path:?}: {fault}")))?;
            }
            _ => {}
        }
        Ok(destination)
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Kind::Invalid, detail)
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "queue:{queue}"),
            Self::Exchange { exchange, routing_key } => {
                write!(f, "exchange:{exchange}:{routing_key}")
            }
            Self::Endpoint { endpoint, .. } => write!(f, "endpoint:{endpoint}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(target: &str) -> Option<String> {
        let target: TargetRequest = serde_json::from_str(target).unwrap();
        Destination::of(&target).ok().map(|destination| destination.to_string())
    }

    #[test]
    fn a_target_names_one_thing() {
        for (target, is) in [
            (r#"{"queue":"mail"}"#, "queue:mail"),
            (r#"{"exchange":"orders","routing_key":"eu"}"#, "exchange:orders:eu"),
            (r#"{"exchange":"orders"}"#, "exchange:orders:"),
            (r#"{"endpoint":"billing"}"#, "endpoint:billing"),
            (r#"{"endpoint":"billing","path":"/a?b=1"}"#, "endpoint:billing"),
        ] {
            assert_eq!(told(target).as_deref(), Some(is), "{target}");
        }
        for wrong in [
            "{}",
            r#"{"queue":""}"#,
            r#"{"exchange":""}"#,
            r#"{"endpoint":""}"#,
            r#"{"routing_key":"a"}"#,
            r#"{"path":"/a"}"#,
            r#"{"queue":"a","exchange":"b"}"#,
            r#"{"queue":"a","endpoint":"b"}"#,
            r#"{"exchange":"a","endpoint":"b"}"#,
            r#"{"queue":"a","routing_key":"b"}"#,
            r#"{"endpoint":"a","routing_key":"b"}"#,
            r#"{"queue":"a","path":"/b"}"#,
            r#"{"endpoint":"a","path":"b"}"#,
            r#"{"endpoint":"a","path":"/../b"}"#,
        ] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
    }
}
