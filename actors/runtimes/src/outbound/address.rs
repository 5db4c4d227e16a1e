//! The classes of IP addresses, by which it is decided where a request may be sent. The ranges are those of the
//! special-purpose registries of IANA (RFC 6890 and its updates), and the addresses of the metadata services of clouds,
//! which give credentials to whoever asks.
//!
//! An IPv6 address that contains an IPv4 address, of which a gateway or the system makes a connection to that one, has the
//! class of the address inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The metadata services of clouds: AWS, Azure, Google Cloud and many others; the containers and pods of AWS; Tencent;
/// Scaleway; Alibaba; Oracle; the host of Azure; AWS, its pods and Google Cloud over IPv6.
const METADATA: [IpAddr; 11] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
];

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// A host of the internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918, and unique local addresses of IPv6).
    Private,
    /// Between a provider and its customers (RFC 6598).
    Shared,
    /// The network segment of this machine.
    LinkLocal,
    /// A service of a cloud that gives credentials to its machines.
    Metadata,
    /// No host; some systems connect to themselves.
    Unspecified,
    /// Several hosts.
    Multicast,
    /// Examples in documents.
    Documentation,
    /// Any other range that is no host of the internet.
    Reserved,
}

impl AddressClass {
    /// The class of an address.
    #[must_use]
    pub fn from_address(address: IpAddr) -> Self {
        if METADATA.contains(&address) {
            return Self::Metadata;
        }
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => match embedded_v4(address) {
                Some(inside) => Self::from_address(IpAddr::V4(inside)),
                None => of_v6(address),
            },
        }
    }

    /// True if a request may be sent to it: to the internet always, to the networks of the operator with a permission, to
    /// anything else never.
    #[must_use]
    pub const fn is_allowed(self, allows_private: bool) -> bool {
        match self {
            Self::Public => true,
            Self::Loopback | Self::Private | Self::Shared | Self::LinkLocal => allows_private,
            Self::Metadata | Self::Unspecified | Self::Multicast | Self::Documentation | Self::Reserved => false,
        }
    }

    /// What it is, in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Loopback => "an address of this machine",
            Self::Private => "an address of a private network",
            Self::Shared => "an address between a provider and its customers",
            Self::LinkLocal => "an address of the network segment",
            Self::Metadata => "the metadata service of a cloud",
            Self::Unspecified => "the unspecified address",
            Self::Multicast => "a multicast address",
            Self::Documentation => "an address of documents",
            Self::Reserved => "a reserved address",
        }
    }
}

const fn of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [0, 0, 0, 0] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::Shared,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [224..=239, ..] => AddressClass::Multicast,
        // This network; protocol assignments; relays of 6to4; AS112; benchmarks; class E and the broadcast.
        [0, ..]
        | [192, 0, 0, _]
        | [192, 88, 99, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 175, 48, _]
        | [198, 18 | 19, ..]
        | [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

const fn of_v6(address: Ipv6Addr) -> AddressClass {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0xfc00..=0xfdff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressClass::Documentation,
        // Protocol assignments, Teredo and ORCHID among them; AS112.
        [0x2001, 0..=0x01ff, ..] | [0x2620, 0x004f, 0x8000, ..] => AddressClass::Reserved,
        // Only this part is assigned to hosts of the internet.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address in an IPv6 address: mapped, compatible (deprecated), translated, of NAT64, of 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        // The unspecified address and loopback have no address inside.
        [0, 0, 0, 0, 0, 0] if high != 0 => Some(join(high, low)),
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x0064, 0xff9b, 0, 0, 0, 0] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
