//! Every way to tamper with a chain, and the place that the walk names.

use ed25519_dalek::VerifyingKey;
use greenroom_protocol as protocol;
use protocol::Timestamp;
use protocol::audit::Event;

use crate::audit::chain::{ChainRow, ChainTip, EventJson, hash};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainReport, ChainVerifier, ChainViolation};

const RECORDS: u64 = 20;
const SIGNED: u64 = 10;

struct Chain {
    signer: Signer,
    rows: Vec<ChainRow>,
    heads: Vec<SignedHead>,
}

fn event(message: &str) -> EventJson {
    EventJson::from_event(&Event::System { subject: "test".into(), message: message.into() }).unwrap()
}

fn extend(link: &mut ChainTip, numbers: std::ops::RangeInclusive<u64>) -> Vec<ChainRow> {
    numbers.map(|number| link.append(Timestamp::from_micros(1), &event(&format!("record {number}")))).collect()
}

/// Twenty records; the tenth and the last are signed.
fn chain() -> Chain {
    let signer = Signer::ephemeral([7; 32]);
    let mut link = ChainTip::genesis();
    let mut rows = extend(&mut link, 1..=SIGNED);
    let middle = signer.sign(HeadKind::Running, link, Timestamp::from_micros(2));
    rows.extend(extend(&mut link, SIGNED + 1..=RECORDS));
    let end = signer.sign(HeadKind::Running, link, Timestamp::from_micros(3));
    Chain { signer, rows, heads: vec![end, middle] }
}

impl Chain {
    fn key(&self) -> VerifyingKey {
        self.signer.verifying_key()
    }

    fn verdict(&self) -> ChainReport {
        let mut verifier = ChainVerifier::new(&self.key(), self.heads.clone());
        self.rows.iter().for_each(|row| verifier.verify_next(row));
        verifier.finish()
    }

    #[track_caller]
    fn check(&self, fault: ChainViolation) {
        assert_eq!(self.verdict().violation, Some(fault));
    }
}

#[test]
fn a_whole_chain_holds() {
    let verdict = chain().verdict();
    assert_eq!(verdict, ChainReport { records: RECORDS, anchor: 0, signed: RECORDS, violation: None });
}

#[test]
fn a_changed_record_is_named() {
    let mut chain = chain();
    chain.rows[6].record = chain.rows[6].record.replace("record 7", "record X");
    chain.check(ChainViolation::Changed { number: 7 });
}

#[test]
fn a_changed_record_with_a_new_hash_is_found_by_its_successor() {
    let mut chain = chain();
    let row = &mut chain.rows[6];
    row.record = row.record.replace("record 7", "record X");
    let before = chain.rows[5].hash;
    chain.rows[6].hash = hash(&before, chain.rows[6].record.as_bytes());
    chain.check(ChainViolation::Unlinked { number: 8 });
}

#[test]
fn a_removed_record_is_named_whether_or_not_the_rest_was_renumbered() {
    let mut chain = chain();
    chain.rows.remove(6);
    chain.check(ChainViolation::Removed { number: 7 });
    chain.rows.iter_mut().skip(6).for_each(|row| row.number -= 1);
    chain.check(ChainViolation::Removed { number: 7 });
}

#[test]
fn an_inserted_record_is_named() {
    let mut chain = chain();
    let mut link = ChainTip { number: 6, hash: chain.rows[5].hash };
    let forged = link.append(Timestamp::from_micros(1), &event("forged"));
    chain.rows.iter_mut().skip(6).for_each(|row| row.number += 1);
    chain.rows.insert(6, forged);
    chain.check(ChainViolation::Inserted { number: 7 });
}

#[test]
fn a_cut_tail_is_found_by_the_signature() {
    let mut chain = chain();
    chain.rows.truncate(15);
    chain.check(ChainViolation::Truncated { after: 15, signed: RECORDS });
    chain.rows.clear();
    chain.check(ChainViolation::Truncated { after: 0, signed: RECORDS });
}

#[test]
fn a_rewritten_chain_is_found_between_two_signatures() {
    let mut chain = chain();
    let mut link = ChainTip { number: 12, hash: chain.rows[11].hash };
    chain.rows.truncate(12);
    chain.rows.extend((13..=RECORDS).map(|_| link.append(Timestamp::from_micros(1), &event("rewritten"))));
    chain.check(ChainViolation::Rewritten { after: SIGNED, through: RECORDS });
}

#[test]
fn a_signature_that_is_not_the_keys_own_is_named() {
    let mut chain = chain();
    let mut link = ChainTip { number: 12, hash: chain.rows[11].hash };
    chain.rows.truncate(12);
    chain.rows.extend((13..=RECORDS).map(|_| link.append(Timestamp::from_micros(1), &event("rewritten"))));
    chain.heads[0] = Signer::ephemeral([9; 32]).sign(HeadKind::Running, link, Timestamp::from_micros(3));
    chain.check(ChainViolation::Forged { number: RECORDS });
    chain.heads.clear();
    chain.check(ChainViolation::Unsigned);
}

#[test]
fn a_record_behind_a_sealed_end_was_inserted() {
    let mut chain = chain();
    let link = ChainTip { number: RECORDS, hash: chain.rows[19].hash };
    chain.heads.push(chain.signer.sign(HeadKind::Closed, link, Timestamp::from_micros(4)));
    assert!(chain.verdict().is_valid());
    let mut end = link;
    chain.rows.extend(extend(&mut end, RECORDS + 1..=RECORDS + 1));
    chain.check(ChainViolation::Inserted { number: RECORDS + 1 });
    chain.heads.push(chain.signer.sign(HeadKind::Running, link, Timestamp::from_micros(5)));
    assert!(chain.verdict().is_valid(), "the next start opens the end again");
}

#[test]
fn a_pruned_chain_begins_behind_its_anchor_and_nowhere_else() {
    let mut chain = chain();
    let link = ChainTip { number: 5, hash: chain.rows[4].hash };
    chain.heads.push(chain.signer.sign(HeadKind::Anchor, link, Timestamp::from_micros(4)));
    chain.rows.drain(..5);
    let verdict = chain.verdict();
    assert_eq!(verdict, ChainReport { records: RECORDS - 5, anchor: 5, signed: RECORDS, violation: None });
    chain.rows.remove(0);
    chain.check(ChainViolation::Removed { number: 6 });
    chain.heads.pop();
    chain.check(ChainViolation::Removed { number: 1 });
}
