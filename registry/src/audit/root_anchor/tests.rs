//! A root chain that begins with an anchor: what verifies, and what is found.

use std::collections::BTreeSet;

use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::Event;

use super::*;
use crate::audit::ROOT_CHAIN;
use crate::audit::chain::{ChainRow, EventJson};
use crate::audit::chains::{RootState, RootVerifier};
use crate::audit::head::HeadKind;
use crate::audit::root_chain::{ChainHead, RootEvent, registrations};
use crate::audit::verify::{ChainReport, ChainViolation};

const AT: Timestamp = Timestamp::from_micros(5);
const DATABASE: &str = "d";
/// More than one part has.
const CHAINS: u64 = 100;
/// The chain that has a record.
const USED: u64 = 3;

fn signer() -> Signer {
    Signer::ephemeral([7; 32])
}

/// The rows of these events after `tip`.
fn append(tip: &mut ChainTip, events: &[RootEvent]) -> Vec<ChainRow> {
    let row = |event: &RootEvent| {
        let event = serde_json::to_value(event).unwrap();
        tip.append(AT, &EventJson::from_event(&Event::Unknown(event)).unwrap())
    };
    events.iter().map(row).collect()
}

/// The only record of the chain `USED`, and its tip after that.
fn record() -> (ChainRow, ChainTip) {
    let mut tip = ChainTip::genesis();
    let event = Event::System { subject: "test".into(), message: "one".into() };
    let row = tip.append(AT, &EventJson::from_event(&event).unwrap());
    (row, tip)
}

fn head(chain: u64, kind: HeadKind, tip: ChainTip) -> RootEvent {
    let head = signer().for_chain(DATABASE, chain).sign(kind, tip, AT);
    RootEvent::Heads { heads: vec![ChainHead { chain, head }] }
}

fn state(rows: &[ChainRow]) -> RootState {
    let signer = signer();
    let mut root = RootVerifier::new(signer.chain_key(), DATABASE.to_owned(), None);
    rows.iter().for_each(|row| root.add(row));
    root.into_state().unwrap()
}

/// A root chain with an anchor, and the index of the first part.
struct Root {
    rows: Vec<ChainRow>,
    first: usize,
    tip: ChainTip,
}

/// `sign` makes the anchor.
fn root_with(sign: impl FnOnce(ChainTip, &[AnchoredChain]) -> Vec<AnchorPart>) -> Root {
    let mut tip = ChainTip::genesis();
    let chains: Vec<u64> = (0..CHAINS).collect();
    let mut rows = append(&mut tip, &registrations(&signer(), DATABASE, "pod_1", &chains, AT));
    let first = rows.len();
    let anchored = state(&rows).anchored(&BTreeSet::new());
    assert_eq!(anchored.len(), chains.len());
    let events: Vec<RootEvent> = sign(tip, &anchored).into_iter().map(RootEvent::Anchor).collect();
    rows.extend(append(&mut tip, &events));
    rows.extend(append(&mut tip, &[head(USED, HeadKind::Running, record().1)]));
    Root { rows, first, tip }
}

fn root() -> Root {
    root_with(|base, chains| anchor(&signer(), DATABASE, base, chains).unwrap())
}

/// The report on these rows and the record, and the head that is pruned.
fn verify(rows: &[ChainRow], saved: Option<ChainTip>) -> (ChainReport, Option<(u64, u64)>) {
    let signer = signer();
    let saved = saved.map(|tip| signer.sign(HeadKind::Running, tip, AT));
    let mut root = RootVerifier::new(signer.chain_key(), DATABASE.to_owned(), saved);
    rows.iter().for_each(|row| root.add(row));
    let pruned_head = root.pruned_head();
    let mut chains = root.finish();
    chains.add(USED, &record().0);
    (chains.finish(), pruned_head)
}

fn violation(rows: &[ChainRow]) -> Option<ChainViolation> {
    verify(rows, None).0.violation
}

#[test]
fn a_verification_begins_with_the_first_record_or_with_an_anchor() {
    let Root { rows, first, tip } = root();
    assert_eq!(rows.len() - first, 3, "two parts and a head");
    // As a whole, from the anchor, and while records before it are removed.
    for begin in [0, first, first - 3] {
        let (report, pruned_head) = verify(&rows[begin..], Some(tip));
        assert!(report.is_valid() && pruned_head.is_none(), "{begin}: {report:?}");
        assert_eq!((report.records, report.signed), (1, 1), "{begin}");
    }
}

#[test]
fn what_is_missing_or_changed_after_the_anchor_is_found() {
    let Root { rows, first, tip } = root();
    let number = |index: usize| rows[index].number;
    let without = |index: usize| {
        let mut rows = rows[first..].to_vec();
        rows.remove(index);
        violation(&rows)
    };
    let in_root = |violation: ChainViolation| Some(violation.in_chain(ROOT_CHAIN));
    assert_eq!(without(1), in_root(ChainViolation::Removed { number: number(first + 1) }), "a part");
    assert_eq!(without(0), in_root(ChainViolation::Removed { number: 1 }), "without its first part it is no anchor");
    let last = number(first + 1);
    let unfinished = in_root(ChainViolation::Truncated { after: last - 1, signed: last });
    assert_eq!(violation(&rows[first..=first]), unfinished);
    let (truncated, _) = verify(&rows[first..rows.len() - 1], Some(tip));
    assert_eq!(truncated.violation, in_root(ChainViolation::Truncated { after: last, signed: tip.number }));
    assert_eq!(violation(&rows[1..first]), in_root(ChainViolation::Removed { number: 1 }), "there is no anchor");
    let mut changed = rows[first..].to_vec();
    changed[0].record = changed[0].record.replace("\"parts\":2", "\"parts\":3");
    assert_eq!(violation(&changed), in_root(ChainViolation::Changed { number: number(first) }));
}

#[test]
fn an_anchor_that_another_key_signs_or_that_is_of_another_position_is_found() {
    let forged = root_with(|base, chains| anchor(&Signer::ephemeral([8; 32]), DATABASE, base, chains).unwrap());
    let number = forged.rows[forged.first].number;
    let found = Some(ChainViolation::Forged { number }.in_chain(ROOT_CHAIN));
    assert_eq!(violation(&forged.rows), found);
    assert_eq!(violation(&forged.rows[forged.first..]), found);
    let other = root_with(|base, chains| anchor(&signer(), "other", base, chains).unwrap());
    assert_eq!(violation(&other.rows[other.first..]), found, "of another database");
    let moved = |base: ChainTip, chains: &[AnchoredChain]| {
        anchor(&signer(), DATABASE, ChainTip { number: base.number + 1, ..base }, chains).unwrap()
    };
    let moved = root_with(moved);
    assert_eq!(violation(&moved.rows), Some(ChainViolation::Unlinked { number }.in_chain(ROOT_CHAIN)));
    assert!(violation(&moved.rows[moved.first..]).is_some(), "it continues at another number");
    let rewritten = |base: ChainTip, chains: &[AnchoredChain]| {
        anchor(&signer(), DATABASE, ChainTip { number: base.number, ..ChainTip::genesis() }, chains).unwrap()
    };
    let rewritten = root_with(rewritten);
    let found = Some(ChainViolation::Unlinked { number }.in_chain(ROOT_CHAIN));
    assert_eq!(violation(&rewritten.rows[rewritten.first..]), found, "the record before it had another hash");
}

#[test]
fn a_signed_head_before_the_anchor_is_compared_with_nothing() {
    let Root { rows, first, .. } = root();
    let tip = |index: usize| ChainTip { number: rows[index].number, hash: rows[index].hash };
    let begin = rows[first].number;
    let (report, pruned_head) = verify(&rows[first..], Some(tip(4)));
    assert!(report.is_valid(), "{report:?}");
    assert_eq!(pruned_head, Some((5, begin)));
    let (whole, pruned_head) = verify(&rows, Some(tip(4)));
    assert!(whole.is_valid() && pruned_head.is_none(), "{whole:?}");
    // The anchor names the hash of the record before it, so that one is compared.
    let (last, pruned_head) = verify(&rows[first..], Some(tip(first - 1)));
    assert!(last.is_valid() && pruned_head.is_none(), "{last:?}");
    let rewritten = ChainTip { number: begin - 1, ..ChainTip::genesis() };
    assert!(matches!(verify(&rows[first..], Some(rewritten)).0.violation, Some(ChainViolation::Rewritten { .. })));
}

#[test]
fn a_chain_that_has_ended_and_is_pruned_as_a_whole_is_not_in_an_anchor() {
    let mut tip = ChainTip::genesis();
    let mut rows = append(&mut tip, &registrations(&signer(), DATABASE, "pod_1", &[0, USED, 5], AT));
    let (_, end) = record();
    let events = [
        head(0, HeadKind::Closed, ChainTip::genesis()),
        head(USED, HeadKind::Closed, end),
        head(5, HeadKind::Running, ChainTip::genesis()),
    ];
    rows.extend(append(&mut tip, &events));
    let chains = |rows: &[ChainRow], live: &[u64]| {
        let anchored = state(rows).anchored(&live.iter().copied().collect());
        anchored.iter().map(|anchored| anchored.chain).collect::<Vec<_>>()
    };
    assert_eq!(chains(&rows, &[]), [USED, 5], "one has a record, and one may have one");
    rows.extend(append(&mut tip, &[head(USED, HeadKind::Anchor, end)]));
    assert_eq!(chains(&rows, &[]), [5]);
    assert_eq!(chains(&rows, &[0]), [0, 5], "its pod is remembered");
}
