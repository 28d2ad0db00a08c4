//! What was done to a message, and to which trace it belongs. Pure but for the random ids.

use uuid::Uuid;

/// Ids in hex, as W3C writes them: 32 digits of a trace, 16 of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub trace_id: String,
    pub span_id: String,
    /// None: the trace begins here.
    pub parent_id: Option<String>,
    pub name: String,
    pub kind: Kind,
    /// Since the epoch.
    pub begin_us: u64,
    pub end_us: u64,
    pub attributes: Vec<(&'static str, Attribute)>,
    pub links: Vec<Link>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Which side of a message it was. <https://opentelemetry.io/docs/specs/otel/trace/api/#spankind>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Producer,
    Consumer,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    Text(String),
    Number(i64),
}

/// Another span that has to do with this one, and does not contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub trace_id: String,
    pub span_id: String,
    pub state: Option<String>,
}

/// A trace that begins now.
pub fn new_trace_id() -> String {
    format!("{:032x}", fastrand::u128(1..))
}

/// A span that nobody has to find.
pub fn new_span_id() -> String {
    format!("{:016x}", fastrand::u64(1..))
}

/// The span of what happens once to the message with this id: whoever delivers it, months later and in another process, knows
/// the span of its schedule by that.
pub fn span_id_of(id: &str, what: &str) -> String {
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("dormouse {what} {id}").as_bytes());
    digest.simple().to_string()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_a_message_is_known_without_having_seen_it() {
        let of = span_id_of("0199-a", "schedule");
        assert_eq!(of, span_id_of("0199-a", "schedule"));
        assert_ne!(of, span_id_of("0199-b", "schedule"));
        assert_ne!(of, span_id_of("0199-a", "deliver"));
        assert_eq!((of.len(), new_span_id().len(), new_trace_id().len()), (16, 16, 32));
    }
}
