//! `Port` is a TCP port of this machine that no other harness takes, running broker or not.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

/// Below the ports that Linux (from 32768) and macOS (from 49152) lend to outgoing connections. A port from there,
/// which is what binding port 0 gives, may be lent out while its broker is down; worse, a client that retries
/// `connect` may be lent the very port it dials, and is then connected to itself.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A claimed port. A broker needs seconds to bind its port, and a killed one gives it back, so a free port is not
/// enough: the claim is the *UDP* port of the same number, bound as long as this value lives. Kafka does not use
/// it, every harness tries it first, and the kernel gives it back however the process ends.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _claim: UdpSocket,
}

impl Port {
    /// Claims a port at random, so that test processes seldom try the same one.
    pub(crate) fn claim() -> Result<Self, String> {
        let tries = usize::from(RANGE.end - RANGE.start);
        (0..tries)
            .find_map(|_| Self::try_claim(random_in_range()))
            .ok_or_else(|| format!("no free TCP port found between {} and {}", RANGE.start, RANGE.end))
    }

    /// The port's number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    fn try_claim(number: u16) -> Option<Self> {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        // The claim keeps other harnesses away; this asks about everybody else.
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _claim: claim })
    }
}

fn random_in_range() -> u16 {
    // RandomState is seeded by the system: the one source of randomness in std.
    let random = RandomState::new().build_hasher().finish();
    let span = u64::from(RANGE.end - RANGE.start);
    RANGE.start + u16::try_from(random % span).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_free_for_a_broker_but_not_for_another_claim() {
        let port = Port::claim().unwrap_or_else(|e| panic!("{e}"));
        assert!(RANGE.contains(&port.number()));
        assert!(Port::try_claim(port.number()).is_none());
        TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap_or_else(|e| panic!("not free: {e}"));
    }
}
