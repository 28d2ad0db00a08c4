//! Free TCP ports on loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// The management port lies this far above the AMQP port, as 15672 does above 5672: it can be guessed.
const MANAGEMENT_DISTANCE: u16 = 10_000;

/// With the management port below Linux's range for outgoing connections (32768 and up), so that no client
/// takes a port while its node is down.
const AMQP: Range<u16> = 20_000..22_000;
const OTHERS: Range<u16> = 22_000..30_000;

/// How many random ports to try; far more than a machine of ours has listeners.
const TRIES: u32 = 1_000;

/// The ports that one node listens on, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) management: u16,
    pub(super) prometheus: u16,
    pub(super) distribution: u16,
    pub(super) epmd: u16,
}

impl Ports {
    /// Five different ports that are free now. Another process may take one before the node does: then choose again.
    pub(super) fn choose() -> Ports {
        // All five stay bound until all are chosen, so that they differ.
        let (amqp, _management) = free(|| {
            let amqp = random(AMQP);
            Some((bind(amqp)?, bind(amqp + MANAGEMENT_DISTANCE)?))
        });
        let [prometheus, distribution, epmd] =
            std::array::from_fn(|_| free(|| bind(random(OTHERS))));
        let port = |listener: &TcpListener| {
            listener.local_addr().expect("a bound listener has an address").port()
        };
        Ports {
            amqp: port(&amqp),
            management: port(&amqp) + MANAGEMENT_DISTANCE,
            prometheus: port(&prometheus),
            distribution: port(&distribution),
            epmd: port(&epmd),
        }
    }
}

fn free<T>(attempt: impl Fn() -> Option<T>) -> T {
    (0..TRIES).find_map(|_| attempt()).expect("some port from 20000 to 32000 is free on loopback")
}

fn random(range: Range<u16>) -> u16 {
    range.start + uuid::Uuid::now_v7().as_u128() as u16 % (range.end - range.start)
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports = Ports::choose();
        let all = [ports.amqp, ports.management, ports.prometheus, ports.distribution, ports.epmd];
        let bound: Vec<_> =
            all.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect();
        assert!(bound.iter().all(Result::is_ok), "{ports:?}");
        assert!(all.iter().all(|port| (20_000..32_000).contains(port)), "{ports:?}");
    }

    #[test]
    fn the_management_port_is_the_one_that_is_guessed() {
        let Ports { amqp, management, .. } = Ports::choose();
        let guessed = dormouse_broker::management::Management::uri_from_amqp(&format!(
            "amqp://127.0.0.1:{amqp}"
        ));
        assert_eq!(guessed, Some(format!("http://guest:guest@127.0.0.1:{management}")));
    }
}
