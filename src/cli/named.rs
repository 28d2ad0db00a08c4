//! Lines of the log for programs: one JSON object each, with the name of what happened.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, time::FormatTime};
use tracing_subscriber::registry::LookupSpan;

/// The subscriber's own JSON, and before it `"event"`: a name that stays when words change. docs/logs.md has all of them.
pub struct Named<T>(pub Format<Json, T>);

impl<S, N, T> FormatEvent<S, N> for Named<T>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match (given(event.metadata().name()), line.strip_prefix('{')) {
            (Some(name), Some(rest)) => write!(writer, "{{\"event\":\"{name}\",{rest}"),
            (_, _) => writer.write_str(&line),
        }
    }
}

/// Who gives none has `event src/file.rs:7`.
fn given(name: &str) -> Option<&str> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_has_the_name_that_was_given_and_all_that_it_had() {
        let lines = Lines::default();
        let builder = tracing_subscriber::fmt().with_writer(lines.clone()).json();
        let subscriber = builder.map_event_format(Named).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(name: "worker-running", address = "x", "running");
            tracing::info!("without a name");
        });
        let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("UTF-8");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0]["event"], "worker-running");
        assert_eq!(lines[0]["fields"]["message"], "running");
        assert_eq!(lines[0]["fields"]["address"], "x");
        assert_eq!(lines[0]["level"], "INFO");
        assert!(lines[1].get("event").is_none(), "{}", lines[1]);
        assert_eq!(lines[1]["fields"]["message"], "without a name");
    }
}
