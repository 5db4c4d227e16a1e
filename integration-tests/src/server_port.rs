//! Ports of the servers of tests. A server that a test ends and starts again needs its port a second time; meanwhile the
//! system must not give it to an outgoing connection, such as one of those that look for the server.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

/// The ports; those that Linux gives to outgoing connections are above them.
const FIRST: u16 = 10_000;
const COUNT: u32 = 20_000;
/// How far the first ports of two processes with consecutive ids are apart.
const PORTS_PER_PROCESS: u32 = 97;
/// Ports that this process has tried.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// A port of the loopback address that is free, and that no other call of this process returns.
///
/// # Errors
/// If there is none.
pub fn reserve_port() -> anyhow::Result<u16> {
    let first = std::process::id().wrapping_mul(PORTS_PER_PROCESS);
    let candidates = std::iter::repeat_with(|| TRIED.fetch_add(1, Ordering::Relaxed));
    let ports = candidates.take(COUNT as usize).map(|number| first.wrapping_add(number) % COUNT);
    let mut ports = ports.filter_map(|offset| FIRST.checked_add(u16::try_from(offset).ok()?));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_returned_once_and_in_the_range() {
        let ports = [reserve_port().unwrap(), reserve_port().unwrap()];
        assert_ne!(ports[0], ports[1]);
        for port in ports {
            assert!((FIRST..30_000).contains(&port), "{port}");
            drop(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
    }
}
