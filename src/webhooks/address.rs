//! Which addresses a webhook may reach. Pure. Whoever may schedule one, or answer for its host's name, must not reach
//! through us what only we can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// What the operator opened, and what stays closed whatever was opened.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Networks inside that may be reached. What is public always may.
    networks: Vec<IpNet>,
    /// The broker's, the management API's and our own listeners.
    closed: Vec<SocketAddr>,
}

/// Why an address is not connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("{0} is not public: add its network to `allow` in the file of endpoints")]
    NotOpened(IpAddr),
    #[error("{0} is closed to webhooks always: {1}")]
    Never(IpAddr, &'static str),
    #[error("{0} is the broker's or Dormouse's own, and closed to webhooks always")]
    Own(SocketAddr),
}

impl Allowed {
    /// `closed` are addresses of ours and of the broker.
    pub fn new(networks: Vec<IpNet>, closed: Vec<SocketAddr>) -> Self {
        let closed = closed.into_iter().map(|own| SocketAddr::new(canonical(own.ip()), own.port()));
        Self { networks, closed: closed.collect() }
    }

    /// Errors: a webhook must not connect there.
    pub fn check(&self, address: SocketAddr) -> Result<(), Forbidden> {
        let ip = canonical(address.ip());
        if let Some(why) = never(ip) {
            return Err(Forbidden::Never(ip, why));
        }
        if self.closed.iter().any(|own| is_same(*own, SocketAddr::new(ip, address.port()))) {
            return Err(Forbidden::Own(address));
        }
        if is_public(ip) || self.networks.iter().any(|network| network.contains(&ip)) {
            return Ok(());
        }
        Err(Forbidden::NotOpened(ip))
    }
}

/// A listener on all addresses is reached by each of this machine, and loopback has many.
fn is_same(own: SocketAddr, other: SocketAddr) -> bool {
    let is_here = own.ip().is_unspecified() || own.ip().is_loopback() && other.ip().is_loopback();
    own.port() == other.port() && (own.ip() == other.ip() || is_here)
}

/// The IPv4 address inside an IPv6 one that a translator or a tunnel would reach.
fn canonical(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let octets = v6.octets();
    let inner = |from: usize| Ipv4Addr::from_octets([0, 1, 2, 3].map(|at| octets[from + at]));
    match v6.segments() {
        // 6to4, RFC 3056
        [0x2002, ..] => IpAddr::V4(inner(2)),
        // NAT64, RFC 6052
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => IpAddr::V4(inner(12)),
        // IPv4-compatible, deprecated, but not unspecified and loopback
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => IpAddr::V4(inner(12)),
        _ => ip,
    }
}

/// What no operator can open.
fn never(ip: IpAddr) -> Option<&'static str> {
    /// Where clouds answer with credentials, beside 169.254.169.254.
    const METADATA: [IpAddr; 3] = [
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    ];
    let (is_link_local, is_teredo) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), false),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), matches!(v6.segments(), [0x2001, 0, ..])),
    };
    let is_broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    match () {
        () if METADATA.contains(&ip) => Some("credentials of a cloud's machines are there"),
        () if is_link_local => Some("it is link-local"),
        () if is_teredo => Some("it is a tunnel's (Teredo), and may lead anywhere"),
        () if ip.is_unspecified() => Some("it is no address"),
        () if ip.is_multicast() || is_broadcast => Some("it is several machines'"),
        () => None,
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_benchmark = a == 198 && (b == 18 || b == 19);
            let is_protocols = (a, b, c) == (192, 0, 0);
            let is_relay = (a, b, c) == (192, 88, 99);
            !(a == 0
                || a >= 240
                || v4.is_loopback()
                || v4.is_private()
                || v4.is_documentation()
                || is_shared
                || is_benchmark
                || is_protocols
                || is_relay)
        }
        // global unicast, without what is for documentation, protocols and benchmarks
        IpAddr::V6(v6) => match v6.segments() {
            [0x2001, b, ..] if b < 0x200 || b == 0xdb8 => false,
            [0x3fff, b, ..] if b < 0x1000 => false,
            [a, ..] => a & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &Allowed, address: &str) -> Result<(), Forbidden> {
        allowed.check(address.parse().unwrap())
    }

    #[test]
    fn what_is_public_may_be_reached_and_what_is_inside_only_if_it_was_opened() {
        let none = Allowed::default();
        for public in ["93.184.216.34:443", "[2606:2800:220:1::1]:80", "100.63.255.255:1"] {
            assert_eq!(check(&none, public), Ok(()), "{public}");
        }
        let inside = [
            "127.0.0.1:80",
            "10.1.2.3:80",
            "172.16.0.1:80",
            "192.168.1.1:80",
            "100.64.0.1:80",
            "0.1.2.3:80",
            "198.18.0.1:80",
            "192.0.2.1:80",
            "240.0.0.1:80",
            "[::1]:80",
            "[fc00::1]:80",
            "[2001:db8::1]:80",
            "[::ffff:10.1.2.3]:80",
            "[2002:a01:203::]:80",
            "[64:ff9b::a01:203]:80",
            "[::10.1.2.3]:80",
            "[fec0::1]:80",
        ];
        let networks = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap()).to_vec();
        let all = Allowed::new(networks, Vec::new());
        for inside in inside {
            assert!(matches!(check(&none, inside), Err(Forbidden::NotOpened(_))), "{inside}");
            assert_eq!(check(&all, inside), Ok(()), "{inside}");
        }
    }

    #[test]
    fn nobody_can_open_what_answers_with_credentials_or_is_our_own() {
        let networks = ["0.0.0.0/0", "::/0"].map(|network| network.parse().unwrap()).to_vec();
        let closed = ["127.0.0.1:5672", "0.0.0.0:15791", "10.0.0.5:15672"];
        let closed = closed.map(|address| address.parse().unwrap()).to_vec();
        let all = Allowed::new(networks, closed);
        let never = [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
            "[2002:a9fe:a9fe::]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
            "100.100.100.200:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[ff02::1]:80",
            "[2001:0:1::1]:80",
        ];
        for never in never {
            assert!(matches!(check(&all, never), Err(Forbidden::Never(..))), "{never}");
        }
        for own in
            ["127.0.0.1:5672", "127.0.0.2:5672", "[::1]:5672", "10.9.9.9:15791", "10.0.0.5:15672"]
        {
            assert!(matches!(check(&all, own), Err(Forbidden::Own(_))), "{own}");
        }
        assert_eq!(check(&all, "127.0.0.1:5673"), Ok(()));
        assert_eq!(check(&all, "10.0.0.6:15672"), Ok(()));
    }
}
