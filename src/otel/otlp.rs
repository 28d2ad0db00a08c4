//! In: spans. Out: the document that a collector takes, OTLP in JSON. Pure.
//! <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>

use serde_json::{Value as Json, json};

use super::settings::Settings;
use super::span::{Attribute, Kind, Span};

/// `instance` tells this process from others.
pub fn document(settings: &Settings, instance: &str, spans: &[Span]) -> Json {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let own = [
        text("service.name", &settings.service),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    let given = settings.attributes.iter().map(|(key, value)| text(key, value));
    let attributes: Vec<_> = own.into_iter().chain(given).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{
            "scope": { "name": "dormouse", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &Span) -> Json {
    let Span {
        trace_id,
        span_id,
        parent_id,
        name,
        kind,
        begin_us,
        end_us,
        attributes,
        links,
        error,
    } = span;
    let links = links.iter().map(|link| {
        let state = link.state.as_deref().unwrap_or_default();
        json!({ "traceId": link.trace_id, "spanId": link.span_id, "traceState": state })
    });
    let status = match error {
        Some(why) => json!({ "code": ERROR, "message": why }),
        None => json!({}),
    };
    json!({
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": parent_id.as_deref().unwrap_or_default(),
        "name": name,
        "kind": number(*kind),
        // a number of 64 bits is a text in this encoding
        "startTimeUnixNano": (begin_us * 1_000).to_string(),
        "endTimeUnixNano": (end_us * 1_000).to_string(),
        "attributes": attributes.iter().map(attribute).collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "status": status,
    })
}

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// `SPAN_KIND_…`
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Producer => 4,
        Kind::Consumer => 5,
    }
}

fn attribute((key, value): &(&'static str, Attribute)) -> Json {
    match value {
        Attribute::Text(text) => json!({ "key": key, "value": { "stringValue": text } }),
        Attribute::Number(number) => {
            json!({ "key": key, "value": { "intValue": number.to_string() } })
        }
    }
}
