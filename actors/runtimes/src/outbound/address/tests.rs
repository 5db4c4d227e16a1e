//! The class of each address, in every notation.

use super::*;

/// Every range with its first and last address and the ones beside it.
const CASES: &[(&str, AddressClass)] = &[
    ("0.0.0.0", AddressClass::Unspecified),
    ("0.0.0.1", AddressClass::Reserved),
    ("0.255.255.255", AddressClass::Reserved),
    ("1.0.0.0", AddressClass::Public),
    ("9.255.255.255", AddressClass::Public),
    ("10.0.0.0", AddressClass::Private),
    ("10.255.255.255", AddressClass::Private),
    ("11.0.0.0", AddressClass::Public),
    ("100.63.255.255", AddressClass::Public),
    ("100.64.0.0", AddressClass::Shared),
    ("100.127.255.255", AddressClass::Shared),
    ("100.128.0.0", AddressClass::Public),
    ("100.100.100.200", AddressClass::Metadata),
    ("126.255.255.255", AddressClass::Public),
    ("127.0.0.0", AddressClass::Loopback),
    ("127.255.255.255", AddressClass::Loopback),
    ("128.0.0.0", AddressClass::Public),
    ("168.63.129.16", AddressClass::Metadata),
    ("169.253.255.255", AddressClass::Public),
    ("169.254.0.0", AddressClass::LinkLocal),
    ("169.254.169.254", AddressClass::Metadata),
    ("169.254.170.2", AddressClass::Metadata),
    ("169.254.170.23", AddressClass::Metadata),
    ("::ffff:169.254.170.2", AddressClass::Metadata),
    ("169.255.0.0", AddressClass::Public),
    ("172.15.255.255", AddressClass::Public),
    ("172.16.0.0", AddressClass::Private),
    ("172.31.255.255", AddressClass::Private),
    ("172.32.0.0", AddressClass::Public),
    ("192.0.0.1", AddressClass::Reserved),
    ("192.0.0.192", AddressClass::Metadata),
    ("192.0.1.0", AddressClass::Public),
    ("192.0.2.255", AddressClass::Documentation),
    ("192.88.99.1", AddressClass::Reserved),
    ("192.167.255.255", AddressClass::Public),
    ("192.168.0.0", AddressClass::Private),
    ("192.169.0.0", AddressClass::Public),
    ("198.17.255.255", AddressClass::Public),
    ("198.18.0.0", AddressClass::Reserved),
    ("198.19.255.255", AddressClass::Reserved),
    ("198.20.0.0", AddressClass::Public),
    ("198.51.100.7", AddressClass::Documentation),
    ("203.0.113.7", AddressClass::Documentation),
    ("223.255.255.255", AddressClass::Public),
    ("224.0.0.1", AddressClass::Multicast),
    ("239.255.255.255", AddressClass::Multicast),
    ("240.0.0.1", AddressClass::Reserved),
    ("255.255.255.255", AddressClass::Reserved),
    ("::", AddressClass::Unspecified),
    ("::1", AddressClass::Loopback),
    ("::2", AddressClass::Reserved),
    // An address inside decides.
    ("::ffff:127.0.0.1", AddressClass::Loopback),
    ("::ffff:8.8.8.8", AddressClass::Public),
    ("::ffff:169.254.169.254", AddressClass::Metadata),
    ("::ffff:0:10.0.0.1", AddressClass::Private),
    ("::10.0.0.1", AddressClass::Private),
    ("64:ff9b::192.168.1.1", AddressClass::Private),
    ("64:ff9b::8.8.8.8", AddressClass::Public),
    ("64:ff9b:1::1", AddressClass::Reserved),
    ("2002:7f00:1::", AddressClass::Loopback),
    ("2002:a9fe:a9fe::1", AddressClass::Metadata),
    ("2002:808:808::1", AddressClass::Public),
    ("100::1", AddressClass::Reserved),
    ("1fff::1", AddressClass::Reserved),
    ("2000::1", AddressClass::Public),
    ("2001::1", AddressClass::Reserved),
    ("2001:1ff::1", AddressClass::Reserved),
    ("2001:200::1", AddressClass::Public),
    ("2001:db8::1", AddressClass::Documentation),
    ("2606:4700::1111", AddressClass::Public),
    ("3fff:fff::1", AddressClass::Documentation),
    ("3fff:1000::1", AddressClass::Public),
    ("4000::1", AddressClass::Reserved),
    ("5f00::1", AddressClass::Reserved),
    ("fc00::1", AddressClass::Private),
    ("fd00:ec2::254", AddressClass::Metadata),
    ("fd00:ec2::23", AddressClass::Metadata),
    ("fd20:ce::254", AddressClass::Metadata),
    ("fdff::1", AddressClass::Private),
    ("fe80::1", AddressClass::LinkLocal),
    ("febf::1", AddressClass::LinkLocal),
    ("fec0::1", AddressClass::Reserved),
    ("ff02::1", AddressClass::Multicast),
];

#[test]
fn every_range_has_its_class() {
    for (text, class) in CASES {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(AddressClass::from_address(address), *class, "{text}");
    }
}

#[test]
fn a_permission_opens_the_networks_of_the_operator_and_nothing_else() {
    for (text, class) in CASES {
        assert_eq!(class.is_allowed(false), *class == AddressClass::Public, "{text}");
        let own = [AddressClass::Loopback, AddressClass::Private, AddressClass::Shared, AddressClass::LinkLocal];
        assert_eq!(class.is_allowed(true), *class == AddressClass::Public || own.contains(class), "{text}");
    }
}
