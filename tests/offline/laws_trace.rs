//! Laws of what a message tells of its trace.

use dormouse_client::{TraceContext, TraceFault};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_trace_is_read_as_it_was_written(trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), child in any::<[u8; 8]>()) {
        let Some(root) = TraceContext::root(trace_id, span_id) else {
            prop_assert!(trace_id == [0; 16] || span_id == [0; 8]);
            return Ok(());
        };
        prop_assert_eq!(root.traceparent().parse::<TraceContext>(), Ok(root.clone()));
        let child = root.child(child);
        prop_assert_eq!(child.trace_id(), root.trace_id());
        prop_assert!(child.is_sampled());
        prop_assert_eq!(child.traceparent().parse::<TraceContext>(), Ok(child));
    }

    #[test]
    fn no_header_panics_the_reader(text in ".*", state in proptest::option::of(".*")) {
        if let Ok(context) = TraceContext::read(&text, state.as_deref()) {
            prop_assert_eq!(context.traceparent().len(), 55);
        }
    }
}

/// The table of the standard: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[test]
fn a_traceparent_is_valid_or_passed_over() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let read = |text: String| text.parse::<TraceContext>();
    let whole = read(format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!((whole.trace_id(), whole.span_id()), (TRACE.to_owned(), SPAN.to_owned()));
    assert!(whole.is_sampled());
    assert!(!read(format!("00-{TRACE}-{SPAN}-00")).unwrap().is_sampled());
    // flags that are not known yet are not passed on
    assert_eq!(
        read(format!("00-{TRACE}-{SPAN}-ff")).unwrap().traceparent(),
        format!("00-{TRACE}-{SPAN}-01")
    );
    // a later version is read as far as it is known, and written as this one
    for later in ["cc-{T}-{S}-01", "cc-{T}-{S}-01-what-comes"] {
        let later = later.replace("{T}", TRACE).replace("{S}", SPAN);
        assert_eq!(read(later).unwrap().traceparent(), format!("00-{TRACE}-{SPAN}-01"));
    }
    let zeros = |digits| "0".repeat(digits);
    for (text, fault) in [
        (format!("ff-{TRACE}-{SPAN}-01"), TraceFault::Version),
        (format!("00-{}-{SPAN}-01", zeros(32)), TraceFault::Zero),
        (format!("00-{TRACE}-{}-01", zeros(16)), TraceFault::Zero),
        (format!("00-{TRACE}-{SPAN}-01-more"), TraceFault::Shape),
        (format!("cc-{TRACE}-{SPAN}-01.more"), TraceFault::Shape),
        (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), TraceFault::Shape),
        (format!("00-{TRACE}-{SPAN}-0x"), TraceFault::Shape),
        (format!("00-{TRACE}-{SPAN}"), TraceFault::Shape),
        (format!("00_{TRACE}-{SPAN}-01"), TraceFault::Shape),
        (format!(" 00-{TRACE}-{SPAN}-01"), TraceFault::Shape),
        (String::new(), TraceFault::Shape),
    ] {
        assert_eq!(read(text.clone()), Err(fault), "{text}");
    }
}

/// <https://www.w3.org/TR/trace-context/#tracestate-header>: kept as it is, or left out as a whole.
#[test]
fn a_tracestate_is_kept_or_left_out() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let kept = |state: &str| {
        let context = TraceContext::read(PARENT, Some(state)).unwrap();
        context.tracestate() == Some(state)
    };
    let many = |count| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    for state in ["a=1", "a=1,b=2", "a=1 , b=2", "a=1,,b=2", "tenant@vendor=x y", &many(32)] {
        assert!(kept(state), "{state}");
    }
    let long = format!("a={}", "x".repeat(257));
    for state in ["", "a", "A=1", "=1", "a=", "a=1,a=2", "a=1=2", "a=ü", &many(33), &long] {
        assert!(!kept(state), "{state}");
    }
}
