//! What each message costs to decide: where it goes, and when. Both stay under a microsecond and allocate
//! nothing of their own: `cargo bench --bench decide` measures the first and asserts the second.

use std::alloc::{GlobalAlloc, Layout as Size, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use dormouse::config::Config;
use dormouse::message::{Headers, Value, text};
use dormouse::schedule::delay::Bounds;
use dormouse::schedule::{UnixMs, delay, headers};
use dormouse::topology::layout;

/// Counts allocations of the whole process.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator that counts")]
// SAFETY: everything is the system allocator's; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, size: Size) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc(size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, size: Size) {
        unsafe { System.dealloc(memory, size) }
    }
}

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Relaxed);
    work();
    ALLOCATIONS.load(Relaxed) - before
}

/// Five hops of seven with the defaults.
const DELAY: Duration = Duration::from_millis(91 * 24 * 3_600_000 + 3_723_456);
const NOW: UnixMs = UnixMs(1_800_000_000_000);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
const BOUNDS: Bounds = Bounds { max_delay: YEAR, max_past: YEAR };

fn dialects() -> [(&'static str, Headers); 4] {
    let one = |name: &str, value| Headers::from([(name.into(), value)]);
    let far = NOW.plus(DELAY).0 as i64;
    [
        ("x-delay, integer", one(headers::X_DELAY, Value::LongLongInt(5_000))),
        ("x-delay, text", one(headers::X_DELAY, text("5000"))),
        ("x-opt-delivery-time", one(headers::DELIVERY_TIME, Value::LongLongInt(far))),
        ("none", Headers::new()),
    ]
}

fn plan(criterion: &mut Criterion) {
    let layout = layout(&Config::default());
    let walk = || {
        let plan = layout.plan(black_box(DELAY));
        layout.path(plan).map(|(_, key)| key.len()).sum::<usize>()
    };
    assert_eq!(allocations(|| _ = black_box(walk())), 0, "a plan and its keys are borrowed");
    criterion.bench_function("plan, and all keys of the way", |bencher| bencher.iter(walk));
}

fn decode(criterion: &mut Criterion) {
    for (name, headers) in dialects() {
        let read = || delay::read(black_box(&headers), NOW, NOW, BOUNDS);
        assert_eq!(allocations(|| _ = black_box(read())), 0, "{name}");
        criterion.bench_function(&format!("read the delay: {name}"), |bencher| bencher.iter(read));
    }
}

criterion_group!(decisions, plan, decode);

fn main() {
    decisions();
    Criterion::default().configure_from_args().final_summary();
}
