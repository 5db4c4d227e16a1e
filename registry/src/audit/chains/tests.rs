//! Root chains whose chains or ends are not what they state.

use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::Event;

use super::*;
use crate::audit::chain::EventJson;
use crate::audit::root_chain::registrations;
use crate::audit::signer::Signer;

const AT: Timestamp = Timestamp::from_micros(5);

/// The rows of a root chain with these events.
fn root_rows(events: &[RootEvent]) -> Vec<ChainRow> {
    let mut tip = ChainTip::genesis();
    let row = |event: &RootEvent| {
        let event = serde_json::to_value(event).unwrap();
        tip.append(AT, &EventJson::from_event(&Event::Unknown(event)).unwrap())
    };
    events.iter().map(row).collect()
}

/// Verifies a root chain with these events, and one record in each of these chains.
fn verify(key: &ChainKey, events: &[RootEvent], chains: &[u64]) -> ChainReport {
    let mut root = RootVerifier::new(key, "d".to_owned(), None);
    root_rows(events).iter().for_each(|row| root.add(row));
    let mut records = root.finish();
    for chain in chains {
        let event = Event::System { subject: "test".into(), message: "one".into() };
        records.add(*chain, &ChainTip::genesis().append(AT, &EventJson::from_event(&event).unwrap()));
    }
    records.finish()
}

#[test]
fn every_chain_must_be_registered_with_a_certified_key() {
    let (signer, other) = (Signer::ephemeral([7; 32]), Signer::ephemeral([8; 32]));
    let events = registrations(&signer, "d", "pod_1", &[0, 1], AT);
    let report = verify(signer.chain_key(), &events, &[0, 1]);
    assert!(report.is_valid() && report.records == 2, "{report:?}");
    let unregistered = verify(signer.chain_key(), &events, &[0, 1, 2]).violation;
    assert_eq!(unregistered, Some(ChainViolation::Inserted { number: 1 }.in_chain(2)));
    let forged = verify(signer.chain_key(), &registrations(&other, "d", "pod_1", &[0], AT), &[]).violation;
    assert_eq!(forged, Some(ChainViolation::Forged { number: 1 }.in_chain(ROOT_CHAIN)));
}

#[test]
fn the_chain_of_a_dead_pod_ends_with_the_record_that_its_death_names() {
    let signer = Signer::ephemeral([7; 32]);
    for (end, violation) in [
        (1, None),
        (0, Some(ChainViolation::Inserted { number: 1 })),
        (2, Some(ChainViolation::Truncated { after: 1, signed: 2 })),
    ] {
        let mut events = registrations(&signer, "d", "pod_1", &[3], AT);
        events.push(RootEvent::PodDied { pod: 1, chains: vec![ChainEnd { chain: 3, number: end }] });
        let found = verify(signer.chain_key(), &events, &[3]).violation;
        assert_eq!(found, violation.map(|violation: ChainViolation| violation.in_chain(3)), "{end}");
    }
}
