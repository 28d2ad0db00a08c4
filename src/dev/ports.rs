//! Free TCP ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

/// Below Linux's range for outgoing connections (32768 and up), so that no client takes a port while its node is down.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

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
        let [amqp, management, prometheus, distribution, epmd] =
            std::array::from_fn(|_| free_port());
        let port = |listener: &TcpListener| {
            listener.local_addr().expect("a bound listener has an address").port()
        };
        Ports {
            amqp: port(&amqp),
            management: port(&management),
            prometheus: port(&prometheus),
            distribution: port(&distribution),
            epmd: port(&epmd),
        }
    }
}

fn free_port() -> TcpListener {
    (0..TRIES)
        .find_map(|_| {
            let random = uuid::Uuid::now_v7().as_u128() as u16;
            let port = RANGE.start + random % (RANGE.end - RANGE.start);
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .expect("some port from 20000 to 32000 is free on loopback")
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
        assert!(all.iter().all(|port| RANGE.contains(port)), "{ports:?}");
    }
}
