//! Failed logins slow down those that come after them from the same address. Pure; the time comes in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many may fail without a pause: a person mistypes.
const FREE: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An address without a failure for so long begins anew.
const MEMORY: Duration = Duration::from_secs(600);
/// Addresses that are remembered; beyond it the oldest are forgotten.
const MOST_ADDRESSES: usize = 10_000;

/// Failures by address.
#[derive(Debug, Default)]
pub struct Failures(HashMap<IpAddr, Failed>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    last: Instant,
}

impl Failures {
    /// How long until the next login from this address is looked at; none if it is now.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failed = self.0.get(&of(address))?;
        let over = failed.times.checked_sub(FREE + 1)?;
        let pause = FIRST_PAUSE.saturating_mul(1u32.checked_shl(over).unwrap_or(u32::MAX));
        let left =
            pause.min(LONGEST_PAUSE).checked_sub(now.saturating_duration_since(failed.last))?;
        (!left.is_zero()).then_some(left)
    }

    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        let is_known = self.0.contains_key(&of(address));
        if !is_known && self.0.len() >= MOST_ADDRESSES {
            self.0.retain(|_, failed| now.saturating_duration_since(failed.last) < MEMORY);
            if self.0.len() >= MOST_ADDRESSES
                && let Some(oldest) =
                    self.0.iter().min_by_key(|(_, failed)| failed.last).map(|(address, _)| *address)
            {
                self.0.remove(&oldest);
            }
        }
        let failed = self.0.entry(of(address)).or_insert(Failed { times: 0, last: now });
        if now.saturating_duration_since(failed.last) >= MEMORY {
            failed.times = 0;
        }
        *failed = Failed { times: failed.times.saturating_add(1), last: now };
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_pause_and_ten_quiet_minutes_end_it() {
        let (address, now): (IpAddr, _) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let mut failures = Failures::default();
        for _ in 0..FREE {
            failures.failed(address, now);
            assert_eq!(failures.wait(address, now), None);
        }
        let mut pauses = Vec::new();
        for _ in 0..8 {
            failures.failed(address, now);
            pauses.push(failures.wait(address, now).unwrap().as_millis());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(failures.wait("192.0.2.2".parse().unwrap(), now), None);
        assert_eq!(failures.wait(address, now + LONGEST_PAUSE), None);
        failures.failed(address, now + MEMORY);
        assert_eq!(failures.wait(address, now + MEMORY), None);
    }

    #[test]
    fn addresses_of_one_network_are_one_and_no_more_than_so_many_are_kept() {
        let now = Instant::now();
        let mut failures = Failures::default();
        for number in 0..100u128 {
            failures.failed(IpAddr::V6((0x2001_0db8 << 96 | number).into()), now);
        }
        assert_eq!(failures.0.len(), 1);
        for number in 0..20_000u32 {
            failures.failed(IpAddr::V4(number.into()), now);
        }
        assert!(failures.0.len() <= MOST_ADDRESSES);
    }
}
