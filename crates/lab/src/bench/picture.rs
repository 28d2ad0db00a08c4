//! In: a histogram. Out: a few lines of text that show its shape. Pure.

use hdrhistogram::Histogram;

/// A row of the picture: up to `to_ms`, so many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    pub to_ms: f64,
    pub count: u64,
}

/// Upper edges in microseconds, about a factor of two apart, as people read times.
const EDGES_US: [u64; 18] = [
    250,
    500,
    1_000,
    2_000,
    3_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    60_000_000,
    3_600_000_000,
];

/// Counts between fixed edges, without the empty ones at both ends. All counts are in one of them.
pub fn bars(histogram_us: &Histogram<u64>) -> Vec<Bar> {
    let mut counts = [0; EDGES_US.len()];
    for recorded in histogram_us.iter_recorded() {
        let value = recorded.value_iterated_to();
        let index = EDGES_US.partition_point(|edge| *edge < value).min(EDGES_US.len() - 1);
        counts[index] += recorded.count_since_last_iteration();
    }
    let first = counts.iter().position(|count| *count > 0);
    let last = counts.iter().rposition(|count| *count > 0);
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let bars = EDGES_US.iter().zip(counts).take(last + 1).skip(first);
    bars.map(|(edge, count)| Bar { to_ms: *edge as f64 / 1e3, count }).collect()
}

/// The bars as lines, the longest `width` characters.
pub fn picture(histogram_us: &Histogram<u64>, width: usize) -> String {
    let bars = bars(histogram_us);
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let all = histogram_us.len().max(1);
    let line = |Bar { to_ms, count }: &Bar| {
        let edge =
            if *to_ms < 1_000.0 { format!("{to_ms} ms") } else { format!("{} s", to_ms / 1e3) };
        let eighths = (*count * width as u64 * 8).div_ceil(most) as usize;
        let mut drawn = "█".repeat(eighths / 8);
        drawn.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
        let share = *count as f64 * 100.0 / all as f64;
        format!("≤ {edge:>8}  {share:>5.1} %  {drawn}").trim_end().to_owned()
    };
    bars.iter().map(line).collect::<Vec<_>>().join("\n")
}
