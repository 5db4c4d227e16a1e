//! Verifies the chains of a database that has several, wherever its records are read from: first the root chain, and with
//! the keys that it registers every other chain. It needs public keys only.
//!
//! A root chain that was pruned begins with an anchor, which has what the records before it have stated. Some of them may be
//! left, because they are removed in pieces: they are skipped. To remove records before an anchor changes nothing that is
//! verified, whoever does it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::audit::chain::{ChainRow, ChainTip};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::root_anchor::{AnchorPart, AnchoredChain};
use crate::audit::root_chain::{ChainEnd, ChainHead, RootEvent};
use crate::audit::verify::{ChainReport, ChainVerifier, ChainViolation};
use crate::audit::{ChainKey, ROOT_CHAIN};
use crate::error::StoreError;

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

    /// The chain as an anchor has it; none if its key cannot be read.
    fn from_anchored(anchored: AnchoredChain) -> Option<(u64, Self)> {
        let AnchoredChain { chain, key, newest, anchor, end } = anchored;
        Some((chain, Self { key: ChainKey::from_hex(&key)?, newest, anchor, end }))
    }

    fn to_anchored(&self, chain: u64) -> AnchoredChain {
        let (newest, anchor) = (self.newest.clone(), self.anchor.clone());
        AnchoredChain { chain, key: self.key.to_hex(), newest, anchor, end: self.end }
    }

    /// True if the chain has ended, and anchors stand for all of its records.
    fn is_pruned(&self) -> bool {
        let newest = self.newest.as_ref();
        let closed = newest.filter(|head| head.kind == HeadKind::Closed).map(|head| head.number);
        let pruned = self.anchor.as_ref().map_or(0, |head| head.number);
        self.end.or(closed) == Some(pruned) && newest.is_none_or(|head| head.number <= pruned)
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

/// The part of an anchor that a record is; none if it is another record.
pub(crate) fn read_anchor(record: &str) -> Option<AnchorPart> {
    match serde_json::from_str::<RootRecord>(record).ok()?.event {
        RootEvent::Anchor(part) => Some(part),
        RootEvent::ChainRegistered { .. }
        | RootEvent::Heads { .. }
        | RootEvent::PodDied { .. }
        | RootEvent::Unknown => None,
    }
}

/// The anchor whose parts are being read.
struct OpenAnchor {
    base: ChainTip,
    /// The part that follows.
    next: u64,
    parts: u64,
}

impl OpenAnchor {
    /// What is wrong if its other parts do not follow this record.
    const fn ended_after(&self, after: u64) -> ChainViolation {
        ChainViolation::Truncated { after, signed: self.base.number.saturating_add(self.parts) }
    }
}

/// What a root chain states, and its tip.
pub(crate) struct RootState {
    pub(crate) tip: ChainTip,
    chains: BTreeMap<u64, RegisteredChain>,
}

impl RootState {
    /// The chains that an anchor needs: all but those that have ended, are pruned as a whole and are not in `live`. No later
    /// record names one of those.
    pub(crate) fn anchored(&self, live: &BTreeSet<u64>) -> Vec<AnchoredChain> {
        let is_needed = |chain: u64, registered: &RegisteredChain| live.contains(&chain) || !registered.is_pruned();
        let needed = self.chains.iter().filter(|(chain, registered)| is_needed(**chain, registered));
        needed.map(|(chain, registered)| registered.to_anchored(*chain)).collect()
    }
}

/// Verifies the root chain, and reads the chains that it registers.
pub(crate) struct RootVerifier<'k> {
    key: &'k ChainKey,
    /// The identity of the database.
    database: String,
    verifier: ChainVerifier,
    /// The record that the signed head names, if there is one.
    head: Option<u64>,
    /// The first record that is verified; none if there was none yet.
    first: Option<u64>,
    /// Records before the first anchor were skipped.
    has_skipped: bool,
    /// The chains are read from the anchor with which the verification begins.
    is_loading: bool,
    anchor: Option<OpenAnchor>,
    /// There are records that this release does not know.
    has_unknown: bool,
    chains: BTreeMap<u64, RegisteredChain>,
    violation: Option<ChainViolation>,
}

impl<'k> RootVerifier<'k> {
    /// Starts with the first record. Without a signed head the end of the root chain cannot be checked.
    pub(crate) fn new(key: &'k ChainKey, database: String, head: Option<SignedHead>) -> Self {
        let signed = head.as_ref().map(|head| head.number);
        let verifier = match head {
            Some(head) => ChainVerifier::new(key.verifying_key(), vec![head]),
            None => ChainVerifier::from_tip(ChainTip::genesis()),
        };
        Self {
            key,
            database,
            verifier,
            head: signed,
            first: None,
            has_skipped: false,
            is_loading: false,
            anchor: None,
            has_unknown: false,
            chains: BTreeMap::new(),
            violation: None,
        }
    }

    /// How many chains are registered.
    pub(crate) fn chain_count(&self) -> u64 {
        self.chains.len() as u64
    }

    /// The record that the signed head names and the first record that there is, if the former is pruned. The head is
    /// compared with nothing then.
    pub(crate) fn pruned_head(&self) -> Option<(u64, u64)> {
        self.head.zip(self.first).filter(|(signed, first)| signed.saturating_add(1) < *first)
    }

    /// Verifies the next record.
    pub(crate) fn add(&mut self, row: &ChainRow) {
        // One that cannot be read was changed, which its hash shows.
        let event = serde_json::from_str::<RootRecord>(&row.record).ok().map(|record| record.event);
        if self.first.is_none() && !self.begin(row.number, event.as_ref()) {
            self.has_skipped = true;
            return;
        }
        let before = self.verifier.tip().ok();
        self.verifier.verify_next(row);
        match event {
            Some(event) => self.add_event(row.number, before, event),
            None => self.has_unknown = true,
        }
    }

    /// Begins with this record; false if it is neither the first one nor an anchor.
    fn begin(&mut self, number: u64, event: Option<&RootEvent>) -> bool {
        if number > 1 {
            let Some(RootEvent::Anchor(part)) = event else { return false };
            if part.part > 0 {
                return false;
            }
            self.verifier.restart(part.base());
            self.is_loading = true;
        }
        self.first = Some(number);
        true
    }

    /// Reads one event. A chain whose key the certifying key has not certified is a violation.
    fn add_event(&mut self, number: u64, before: Option<ChainTip>, event: RootEvent) {
        if !matches!(event, RootEvent::Anchor(_))
            && let Some(anchor) = self.anchor.take()
        {
            self.add_violation(anchor.ended_after(number.saturating_sub(1)));
        }
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
            RootEvent::Anchor(part) => self.add_anchor(number, before, &part),
            RootEvent::Unknown => self.has_unknown = true,
        }
    }

    /// Reads a part of an anchor. Its chains are known already, unless the verification begins with it.
    fn add_anchor(&mut self, number: u64, before: Option<ChainTip>, part: &AnchorPart) {
        if !part.is_signed_by(self.key, &self.database) {
            self.add_violation(ChainViolation::Forged { number });
        }
        let expected = match self.anchor.take() {
            Some(OpenAnchor { base, next, .. }) => (Some(base), next),
            None => (before, 0),
        };
        if (Some(part.base()), part.part) != expected {
            self.add_violation(ChainViolation::Unlinked { number });
        }
        if self.is_loading {
            match part.read_chains() {
                Some(chains) => self.chains.extend(chains.into_iter().filter_map(RegisteredChain::from_anchored)),
                None => self.add_violation(ChainViolation::Changed { number }),
            }
        }
        let next = part.part.saturating_add(1);
        if next < part.parts {
            self.anchor = Some(OpenAnchor { base: part.base(), next, parts: part.parts });
        } else {
            self.is_loading = false;
        }
    }

    fn add_violation(&mut self, violation: ChainViolation) {
        self.violation.get_or_insert_with(|| violation.in_chain(ROOT_CHAIN));
    }

    /// Ends the root chain, and returns its chains and its first violation.
    fn end(self) -> (BTreeMap<u64, RegisteredChain>, Option<ChainViolation>) {
        let has_head = self.head.is_some() && self.pruned_head().is_none();
        let Self { verifier, first, has_skipped, anchor, chains, violation, .. } = self;
        let in_root = |violation: ChainViolation| violation.in_chain(ROOT_CHAIN);
        if first.is_none() && has_skipped {
            return (chains, Some(in_root(ChainViolation::Removed { number: 1 })));
        }
        let unfinished = anchor.map(|anchor| anchor.ended_after(verifier.last_number()));
        let linked = if has_head { verifier.finish().violation } else { verifier.tip().err() };
        (chains, linked.map(in_root).or(violation).or_else(|| unfinished.map(in_root)))
    }

    /// Ends the root chain, and returns what it states, for an anchor: only a root chain that is valid, and whose records
    /// this release knows, has one.
    ///
    /// # Errors
    /// [`StoreError::Chain`] for a violation, [`StoreError::Version`] for a record that this release does not know.
    pub(crate) fn into_state(self) -> Result<RootState, StoreError> {
        let (tip, has_unknown) = (self.verifier.tip(), self.has_unknown);
        let (chains, violation) = self.end();
        let chain = |violation: ChainViolation| StoreError::Chain(violation.to_string());
        if let Some(violation) = violation {
            return Err(chain(violation));
        }
        if has_unknown {
            return Err(StoreError::Version("the root chain has records of a newer release".to_owned()));
        }
        Ok(RootState { tip: tip.map_err(chain)?, chains })
    }

    /// Ends the root chain. The records of the other chains follow.
    pub(crate) fn finish(self) -> ChainsVerifier {
        let (chains, violation) = self.end();
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
mod tests;
