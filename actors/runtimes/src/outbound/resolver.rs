//! Resolves the names of hosts, and gives the client only the addresses that it may connect to: what was checked is what
//! is connected to, so a name cannot have another address a moment later.

use std::fmt;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::AddressClass;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The name has only addresses to which nothing may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedAddress(pub(super) AddressClass);

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it has {}", self.0.as_str())
    }
}

impl std::error::Error for RefusedAddress {}

/// A resolver that removes the addresses to which nothing may be sent.
pub(super) struct CheckedResolver {
    pub(super) allows_private: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allows_private = self.allows_private;
        Box::pin(async move {
            // The client replaces the port.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = allowed_addresses(&found, allows_private)?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The addresses to which a request may be sent.
///
/// # Errors
/// [`RefusedAddress`] if there are others only.
fn allowed_addresses(found: &[SocketAddr], allows_private: bool) -> Result<Vec<SocketAddr>, RefusedAddress> {
    let class = |address: &SocketAddr| AddressClass::from_address(address.ip());
    let is_allowed = |address: &&SocketAddr| class(address).is_allowed(allows_private);
    let allowed: Vec<SocketAddr> = found.iter().filter(is_allowed).take(ADDRESSES_MAX).copied().collect();
    match found.first().filter(|_| allowed.is_empty()) {
        Some(first) => Err(RefusedAddress(class(first))),
        // A name without an address fails as it would without this check.
        None => Ok(allowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn a_name_has_only_the_addresses_that_are_allowed() {
        let mixed = addresses(&["127.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]);
        assert_eq!(allowed_addresses(&mixed, false).unwrap(), addresses(&["8.8.8.8", "2606:4700::1111"]));
        assert_eq!(allowed_addresses(&mixed, true).unwrap(), mixed);
        let private = addresses(&["10.0.0.1", "fd00::1"]);
        assert_eq!(allowed_addresses(&private, false).unwrap_err().0, AddressClass::Private);
        let metadata = addresses(&["169.254.169.254"]);
        assert_eq!(allowed_addresses(&metadata, true).unwrap_err().0, AddressClass::Metadata);
        assert!(allowed_addresses(&[], false).unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_names_of_this_machine_are_refused_without_a_permission() {
        let resolve = |allows_private| CheckedResolver { allows_private }.resolve("localhost".parse().unwrap());
        let refused = resolve(false).await.err().unwrap();
        assert!(refused.downcast_ref::<RefusedAddress>().is_some(), "{refused}");
        assert!(resolve(true).await.unwrap().next().is_some());
    }
}
