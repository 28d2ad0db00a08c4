//! When a message that sleeps in a level queue can be due. Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::schedule::UnixMs;

/// The earliest and the latest due time of a message in a level queue, seen at `now`.
///
/// At the latest it came just now and has all of the `ttl` ahead, then the highest digit of every
/// level below, which is `step` (the TTL of this level's digit 1) less one unit, and then up to the
/// margin and one unit, less a millisecond, in the worker. At the earliest it leaves this moment,
/// meets only zeros, and has lost the margin to slow hops. What slept through a stop of the broker
/// may be overdue.
pub fn due_window(
    now: UnixMs,
    ttl: Duration,
    step: Duration,
    margin: Duration,
) -> RangeInclusive<UnixMs> {
    let just_less = Duration::from_millis(1);
    now..=now.plus((ttl + step + margin).saturating_sub(just_less))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Layout;

    /// Walks a message with this delay through the levels and checks the window at both ends of its
    /// stay in each queue. Returns how close it came to the latest due time.
    fn walk(layout: &Layout, delay: Duration) -> Option<Duration> {
        let published = UnixMs(1_000_000);
        let due = published.plus(delay);
        let mut closest = None;
        let mut entered = published;
        for (level, key) in layout.path(layout.plan(delay)) {
            let Some((ttl, _)) = level.queues().find(|(_, of_queue)| *of_queue == key) else {
                continue;
            };
            let step = Duration::from_millis(level.step_ms);
            let window = |now| due_window(now, ttl, step, layout.margin());
            assert!(window(entered).contains(&due), "{delay:?} entering {key}");
            let left = entered.plus(ttl);
            // as late as the margin allows for
            assert!(window(left.plus(layout.margin())).contains(&due), "{delay:?} leaving {key}");
            closest = closest
                .min(Some(window(entered).end().since(due)))
                .or(Some(window(entered).end().since(due)));
            entered = left;
        }
        closest
    }

    #[test]
    fn every_message_is_due_inside_its_window_wherever_it_sleeps() {
        let ms = Duration::from_millis;
        for (radix, margin) in [(2, 0), (4, 20), (16, 100)] {
            let layout = Layout::new(ms(10), radix, ms(5_000), ms(margin));
            let mut closest = Vec::new();
            for delay in 0..5_000 {
                closest.extend(walk(&layout, ms(delay)));
            }
            assert_eq!(
                closest.iter().min(),
                Some(&Duration::ZERO),
                "the latest due time is reached"
            );
        }
    }
}
