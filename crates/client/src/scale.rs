//! How many consumers a queue needs. Pure: the caller looks at the queue every few seconds.

use std::time::{Duration, Instant};

/// Bounds and thresholds of a group of consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleSettings {
    /// Never fewer consumers, at least 1. Default 1.
    pub min: u32,
    /// Never more. Default 10. They are this process's: other processes scale on their own.
    pub max: u32,
    /// More messages waiting than this want more consumers. Default 1,000.
    pub grow_above: u64,
    /// Fewer messages waiting than this, for `shrink_pause`, need one consumer less. Default 100.
    /// Between the two thresholds nothing changes.
    pub shrink_below: u64,
    /// When nothing waited and nothing was handled for so long, `min` is enough. Default 5 minutes.
    pub idle: Duration,
    /// How soon after a change it may grow: first see what the change did. Default 15 s.
    pub grow_pause: Duration,
    /// How soon after a change it may shrink. Default 1 minute.
    pub shrink_pause: Duration,
    /// How fast a backlog should be gone: it decides how many to add, at most as many as there are.
    /// Default 1 minute.
    pub drain_within: Duration,
}

impl Default for ScaleSettings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 10,
            grow_above: 1_000,
            shrink_below: 100,
            idle: Duration::from_secs(300),
            grow_pause: Duration::from_secs(15),
            shrink_pause: Duration::from_secs(60),
            drain_within: Duration::from_secs(60),
        }
    }
}

/// What the caller sees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSample {
    /// Messages ready in the queue: a passive declare's count (`amqp::inspector::Ask::queue`).
    pub ready: u64,
    /// Messages that this process handled a second since the last look.
    pub handled_per_second: f64,
    /// Consumers that it runs now.
    pub consumers: u32,
}

/// What to do about the number of consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// Nothing.
    Stay,
    /// More, of which `to` are then running.
    Grow {
        /// Consumers.
        to: u32,
    },
    /// Fewer, of which `to` are then running.
    Shrink {
        /// Consumers.
        to: u32,
    },
}

/// A shrunk group has to manage with this share of what it can do, or it would soon grow again.
const HEADROOM: f64 = 0.8;

/// Decides from look to look. It keeps what it has seen, and no clock.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use dormouse_client::scale::{Decision, QueueSample};
/// use dormouse_client::{ScaleSettings, Scaler};
///
/// let mut scaler = Scaler::new(ScaleSettings { max: 8, ..ScaleSettings::default() });
/// let begin = Instant::now();
/// let sample = |ready, consumers| QueueSample { ready, handled_per_second: 50.0, consumers };
///
/// assert_eq!(scaler.decide(begin, sample(3_000, 1)), Decision::Grow { to: 2 });
/// let later = begin + Duration::from_secs(15);
/// assert_eq!(scaler.decide(later, sample(6_000, 2)), Decision::Grow { to: 4 });
/// let later = begin + Duration::from_secs(30);
/// assert_eq!(scaler.decide(later, sample(900, 4)), Decision::Stay);
/// ```
///
/// What one consumer can do is measured while more wait than `grow_above`, and kept from then on: a
/// group shrinks no further than that load allows, so that it does not grow again at once.
#[derive(Debug, Clone)]
pub struct Scaler {
    settings: ScaleSettings,
    changed: Option<Instant>,
    low_since: Option<Instant>,
    idle_since: Option<Instant>,
    /// What one consumer handled a second when there was more than enough to do.
    each_per_second: Option<f64>,
}

impl Scaler {
    /// With nothing seen.
    pub fn new(settings: ScaleSettings) -> Self {
        Self { settings, changed: None, low_since: None, idle_since: None, each_per_second: None }
    }

    /// The caller carries the decision out, and says so with its next look. If it cannot look at the
    /// queue, it does not ask.
    pub fn decide(&mut self, now: Instant, sample: QueueSample) -> Decision {
        self.remember(now, &sample);
        let wanted = self.wanted(now, &sample).clamp(self.min(), self.max());
        if wanted == sample.consumers {
            return Decision::Stay;
        }
        self.changed = Some(now);
        if wanted > sample.consumers {
            Decision::Grow { to: wanted }
        } else {
            Decision::Shrink { to: wanted }
        }
    }

    fn remember(&mut self, now: Instant, sample: &QueueSample) {
        let since = |is: bool, since: Option<Instant>| is.then(|| since.unwrap_or(now));
        self.low_since = since(sample.ready < self.settings.shrink_below, self.low_since);
        let idle = sample.ready == 0 && sample.handled_per_second <= 0.0;
        self.idle_since = since(idle, self.idle_since);

        // right after a change the rate is that of another number of consumers
        let busy = sample.ready > self.settings.grow_above && sample.handled_per_second > 0.0;
        if busy && passed(now, self.changed, self.settings.grow_pause) {
            let each_per_second = sample.handled_per_second / f64::from(sample.consumers.max(1));
            self.each_per_second = Some(each_per_second);
        }
    }

    fn wanted(&self, now: Instant, sample: &QueueSample) -> u32 {
        let settings = &self.settings;
        let pause_over = |pause| passed(now, self.changed, pause);
        if sample.ready > settings.grow_above && pause_over(settings.grow_pause) {
            return self.grown(sample);
        }
        if self.idle_since.is_some_and(|since| passed(now, Some(since), settings.idle)) {
            return settings.min;
        }
        let low = self.low_since.is_some_and(|low| passed(now, Some(low), settings.shrink_pause));
        if low && pause_over(settings.shrink_pause) && self.can_spare_one(sample) {
            return sample.consumers.saturating_sub(1);
        }
        sample.consumers
    }

    fn grown(&self, sample: &QueueSample) -> u32 {
        let drain_s = self.settings.drain_within.as_secs_f64();
        let needed =
            self.each_per_second.map_or(0.0, |each| sample.ready as f64 / (each * drain_s));
        // a float too large for the type becomes its largest number
        (needed.ceil() as u32)
            .clamp(sample.consumers.saturating_add(1), sample.consumers.saturating_mul(2).max(2))
    }

    fn can_spare_one(&self, sample: &QueueSample) -> bool {
        let left = f64::from(sample.consumers.saturating_sub(1));
        self.each_per_second.is_none_or(|each| sample.handled_per_second <= each * left * HEADROOM)
    }

    fn min(&self) -> u32 {
        self.settings.min.max(1)
    }

    fn max(&self) -> u32 {
        self.settings.max.max(self.min())
    }
}

fn passed(now: Instant, since: Option<Instant>, long: Duration) -> bool {
    since.is_none_or(|since| now.saturating_duration_since(since) >= long)
}
