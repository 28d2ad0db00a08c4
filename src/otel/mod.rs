//! Traces for OpenTelemetry, of messages whose publisher records one: W3C's `traceparent` says so.
//!
//! In: spans, as they end. Out: OTLP over HTTP, in JSON, some every second. What cannot be sent delays nobody and is told once
//! a minute. docs/traces.md says what there is to see.
//!
//! | | in → out |
//! |---|---|
//! | [`Span`] | what was done to a message, when, in which trace, and what it is linked to |
//! | [`Settings`] | OpenTelemetry's own variables → where to send, and as whom |
//! | `otlp` | spans → the document that is sent; pure |
//! | [`Exporting`] | sends, until it is ended |

mod exporter;
mod otlp;
mod queue;
mod settings;
mod span;

pub use exporter::{ExportError, Exporting};
pub use queue::record;
pub use settings::{Settings, SettingsError};
pub use span::{Attribute, Kind, Link, Span, new_span_id, new_trace_id, span_id_of};
