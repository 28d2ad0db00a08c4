//! How far a run is, on the terminal's last line.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dormouse::operate::number;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::bench::{Flow, Progress};

/// Written to standard error, and only if that is a terminal.
pub struct Bar {
    bar: ProgressBar,
    what: String,
    /// Until the last publish, if nothing ends it sooner.
    publishing: Duration,
    count: u64,
    progress: Arc<Progress>,
}

const EVERY: Duration = Duration::from_millis(200);
/// More than the bar has characters.
const STEPS: u64 = 1_000;

impl Bar {
    pub fn new(what: &str, flow: &Flow, progress: Arc<Progress>) -> Self {
        let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a template");
        Self {
            bar: ProgressBar::new(STEPS).with_style(style.progress_chars("━┄")),
            what: what.to_owned(),
            publishing: flow.warm_up + flow.window * flow.windows as u32,
            count: flow.load.count,
            progress,
        }
    }

    /// Draws until it is dropped.
    pub async fn draw(&self) {
        let start = Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            self.update(start.elapsed());
        }
    }

    fn update(&self, elapsed: Duration) {
        let published = self.progress.published.load(Relaxed);
        let arrived = self.progress.arrived.load(Relaxed);
        let (share, doing) = if self.progress.draining.load(Relaxed) {
            (arrived as f64 / published.max(1) as f64, "waiting for the rest")
        } else {
            let by_time = elapsed.as_secs_f64() / self.publishing.as_secs_f64();
            let by_count = published as f64 / self.count.max(1) as f64;
            (by_time.max(by_count), self.what.as_str())
        };
        self.bar.set_message(format!(
            "{doing}: {} out, {} back",
            number(published),
            number(arrived)
        ));
        self.bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
