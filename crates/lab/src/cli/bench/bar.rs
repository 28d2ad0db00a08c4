//! How far a run is, on the terminal's last line.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dormouse::cli::table::number;
use tokio::time::Instant;

use crate::bench::{Flow, Progress};

/// Written to standard error, and only if that is a terminal.
pub struct Bar {
    what: String,
    /// Until the last publish, if nothing ends it sooner.
    publishing: Duration,
    count: u64,
    progress: Arc<Progress>,
    shown: bool,
}

const EVERY: Duration = Duration::from_millis(200);
const WIDTH: usize = 24;

impl Bar {
    pub fn new(what: &str, flow: &Flow, progress: Arc<Progress>) -> Self {
        Self {
            what: what.to_owned(),
            publishing: flow.warm_up + flow.window * flow.windows as u32,
            count: flow.load.count,
            progress,
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// Draws until it is dropped.
    pub async fn draw(&self) {
        let start = Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            if self.shown {
                let mut terminal = std::io::stderr().lock();
                // a terminal that is gone is no reason to stop
                let _ = write!(terminal, "\r\x1b[K{}", self.line(start.elapsed()));
                let _ = terminal.flush();
            }
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let published = self.progress.published.load(Relaxed);
        let arrived = self.progress.arrived.load(Relaxed);
        let (share, doing) = if self.progress.draining.load(Relaxed) {
            (arrived as f64 / published.max(1) as f64, "waiting for the rest")
        } else {
            let by_time = elapsed.as_secs_f64() / self.publishing.as_secs_f64();
            let by_count = published as f64 / self.count.max(1) as f64;
            (by_time.max(by_count), self.what.as_str())
        };
        let done = ((share.clamp(0.0, 1.0) * WIDTH as f64) as usize).min(WIDTH);
        let (done, left) = ("━".repeat(done), "┄".repeat(WIDTH - done));
        format!("{done}{left} {doing}: {} out, {} back", number(published), number(arrived))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            let mut terminal = std::io::stderr().lock();
            let _ = write!(terminal, "\r\x1b[K");
            let _ = terminal.flush();
        }
    }
}
