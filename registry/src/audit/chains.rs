//! Verifies the chains of a database that has several, wherever its records are read from: first the root chain, and with
//! the keys that it registers every other chain. It needs public keys only.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::audit::chain::{ChainRow, ChainTip};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::root_chain::{ChainEnd, ChainHead, RootEvent};
use crate::audit::verify::{ChainReport, ChainVerifier, ChainViolation};
use crate::audit::{ChainKey, ROOT_CHAIN};

/// A chain as the root chain knows it.
struct RegisteredChain {
    key: ChainKey,
    /// The newest head, and the newest anchor.
    newest: Option<SignedHead>,
    anchor: Option<SignedHead>,
    /// Its last record, if its pod was declared dead.
    end: Option<u64>,
}

impl RegisteredChain {
    const fn new(key: ChainKey) -> Self {
        Self { key, newest: None, anchor: None, end: None }
    }

    fn add(&mut self, head: SignedHead) {
        let newest = match head.kind {
            HeadKind::Anchor => &mut self.anchor,
            HeadKind::Running | HeadKind::Closed | HeadKind::Break => &mut self.newest,
        };
        if newest.as_ref().is_none_or(|known| (known.number, known.at) <= (head.number, head.at)) {
            *newest = Some(head);
        }
    }

    fn verifier(&self) -> ChainVerifier {
        let heads = self.newest.iter().chain(&self.anchor).cloned().collect();
        ChainVerifier::new(self.key.verifying_key(), heads)
    }
}

#[derive(Deserialize)]
struct RootRecord {
    event: RootEvent,
}

/// Verifies the root chain, and reads the chains that it registers.
pub(crate) struct RootVerifier<'k> {
    key: &'k ChainKey,
    /// The identity of the database.
    database: String,
    verifier: ChainVerifier,
    /// A head of the root chain is known.
    has_head: bool,
    chains: BTreeMap<u64, RegisteredChain>,
    violation: Option<ChainViolation>,
}

impl<'k> RootVerifier<'k> {
    /// Starts with the first record. Without a signed head the end of the root chain cannot be checked.
    pub(crate) fn new(key: &'k ChainKey, database: String, head: Option<SignedHead>) -> Self {
        let has_head = head.is_some();
        let verifier = match head {
            Some(head) => ChainVerifier::new(key.verifying_key(), vec![head]),
            None => ChainVerifier::from_tip(ChainTip::genesis()),
        };
        Self { key, database, verifier, has_head, chains: BTreeMap::new(), violation: None }
    }

    /// The number of the last verified record.
    pub(crate) const fn last_number(&self) -> u64 {
        self.verifier.last_number()
    }

    /// Verifies the next record.
    pub(crate) fn add(&mut self, row: &ChainRow) {
        self.verifier.verify_next(row);
        // One that cannot be read was changed, which its hash shows.
        if let Ok(record) = serde_json::from_str::<RootRecord>(&row.record) {
            self.add_event(row.number, record.event);
        }
    }

    /// Reads one event. A chain whose key the certifying key has not certified is a violation.
    fn add_event(&mut self, number: u64, event: RootEvent) {
        match event {
            RootEvent::ChainRegistered { chain, key, certificate, .. } => {
                let is_certified = self.key.has_certified(&self.database, chain, &key, &certificate);
                match ChainKey::from_hex(&key).filter(|_| is_certified) {
                    Some(key) => {
                        self.chains.entry(chain).or_insert_with(|| RegisteredChain::new(key));
                    }
                    None => self.add_violation(ChainViolation::Forged { number }),
                }
            }
            RootEvent::Heads { heads } => {
                for ChainHead { chain, head } in heads {
                    match self.chains.get_mut(&chain) {
                        Some(registered) => registered.add(head),
                        None => self.add_violation(ChainViolation::Inserted { number }),
                    }
                }
            }
            RootEvent::PodDied { pod: _, chains } => {
                for ChainEnd { chain, number: end } in chains {
                    match self.chains.get_mut(&chain) {
                        Some(registered) => registered.end = Some(end),
                        None => self.add_violation(ChainViolation::Inserted { number }),
                    }
                }
            }
            RootEvent::Unknown => {}
        }
    }

    fn add_violation(&mut self, violation: ChainViolation) {
        self.violation.get_or_insert_with(|| violation.in_chain(ROOT_CHAIN));
    }

    /// Ends the root chain. The records of the other chains follow.
    pub(crate) fn finish(self) -> ChainsVerifier {
        let Self { verifier, has_head, chains, violation, .. } = self;
        let linked = if has_head { verifier.finish().violation } else { verifier.tip().err() };
        let violation = linked.map(|linked| linked.in_chain(ROOT_CHAIN)).or(violation);
        let report = ChainReport { records: 0, anchor: 0, signed: 0, breaks: Vec::new(), violation };
        ChainsVerifier { chains, report, verifying: None }
    }
}

/// The chain whose records are being read.
struct Verifying {
    chain: u64,
    /// None for a chain that is not registered.
    verifier: Option<ChainVerifier>,
    end: Option<u64>,
}

impl Verifying {
    fn new(chain: u64, registered: Option<&RegisteredChain>) -> Self {
        let end = registered.and_then(|registered| registered.end);
        Self { chain, verifier: registered.map(RegisteredChain::verifier), end }
    }
}

/// Verifies the chains that are registered.
pub(crate) struct ChainsVerifier {
    /// Those whose records were not read yet.
    chains: BTreeMap<u64, RegisteredChain>,
    report: ChainReport,
    verifying: Option<Verifying>,
}

impl ChainsVerifier {
    /// Verifies the next record. The records are ordered by their chains, and within a chain by their numbers.
    pub(crate) fn add(&mut self, chain: u64, row: &ChainRow) {
        if self.verifying.as_ref().is_none_or(|verifying| verifying.chain != chain) {
            self.end_chain();
            self.verifying = Some(Verifying::new(chain, self.chains.remove(&chain).as_ref()));
        }
        match self.verifying.as_mut().and_then(|verifying| verifying.verifier.as_mut()) {
            Some(verifier) => verifier.verify_next(row),
            None => self.add_violation(ChainViolation::Inserted { number: row.number }.in_chain(chain)),
        }
    }

    /// Ends the last chain, and returns the report on all of them.
    pub(crate) fn finish(mut self) -> ChainReport {
        self.end_chain();
        // A chain without records is whole only if no record of it was signed.
        for (chain, registered) in std::mem::take(&mut self.chains) {
            self.verifying = Some(Verifying::new(chain, Some(&registered)));
            self.end_chain();
        }
        self.report
    }

    /// Adds the verification of the chain whose records were read.
    fn end_chain(&mut self) {
        let Some(Verifying { chain, verifier: Some(verifier), end }) = self.verifying.take() else { return };
        let last = verifier.last_number();
        let ChainReport { records, anchor, signed, breaks, violation } = verifier.finish();
        self.report.records = self.report.records.saturating_add(records);
        self.report.anchor = self.report.anchor.saturating_add(anchor);
        self.report.signed = self.report.signed.saturating_add(signed);
        self.report.breaks.extend(breaks);
        if let Some(violation) = violation.or_else(|| check_end(last, end?)) {
            self.add_violation(violation.in_chain(chain));
        }
    }

    fn add_violation(&mut self, violation: ChainViolation) {
        self.report.violation.get_or_insert(violation);
    }
}

/// Compares the last record of a chain with that at the death of its pod.
fn check_end(last: u64, end: u64) -> Option<ChainViolation> {
    if last < end {
        Some(ChainViolation::Truncated { after: last, signed: end })
    } else {
        (last > end).then(|| ChainViolation::Inserted { number: end.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests {
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
}
