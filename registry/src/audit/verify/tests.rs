//! Every way to tamper with a chain, and the violation that the verifier reports.

use ed25519_dalek::VerifyingKey;
use greenroom_protocol as protocol;
use protocol::audit::{Event, RecordRef, Restored};
use protocol::{Issuer, TenantId, Timestamp, UserId};

use crate::audit::chain::{ChainRow, ChainTip, EventJson, hash};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;
use crate::audit::verify::{ChainBreak, ChainReport, ChainVerifier, ChainViolation};

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

fn extend(tip: &mut ChainTip, numbers: std::ops::RangeInclusive<u64>) -> Vec<ChainRow> {
    numbers.map(|number| tip.append(Timestamp::from_micros(1), &event(&format!("record {number}")))).collect()
}

/// Twenty records; the tenth and the last are signed.
fn chain() -> Chain {
    let signer = Signer::ephemeral([7; 32]);
    let mut tip = ChainTip::genesis();
    let mut rows = extend(&mut tip, 1..=SIGNED);
    let middle = signer.sign(HeadKind::Running, tip, Timestamp::from_micros(2));
    rows.extend(extend(&mut tip, SIGNED + 1..=RECORDS));
    let end = signer.sign(HeadKind::Running, tip, Timestamp::from_micros(3));
    Chain { signer, rows, heads: vec![end, middle] }
}

impl Chain {
    fn key(&self) -> VerifyingKey {
        *self.signer.chain_key().verifying_key()
    }

    fn report(&self) -> ChainReport {
        let mut verifier = ChainVerifier::new(&self.key(), self.heads.clone());
        self.rows.iter().for_each(|row| verifier.verify_next(row));
        verifier.finish()
    }

    #[track_caller]
    fn check(&self, violation: ChainViolation) {
        assert_eq!(self.report().violation, Some(violation));
    }
}

#[test]
fn a_complete_chain_is_valid() {
    let report = chain().report();
    assert_eq!(
        report,
        ChainReport { records: RECORDS, anchor: 0, signed: RECORDS, breaks: Vec::new(), violation: None }
    );
}

#[test]
fn a_changed_record_is_named() {
    let mut chain = chain();
    chain.rows[6].record = chain.rows[6].record.replace("record 7", "record X");
    chain.check(ChainViolation::Changed { number: 7 });
}

#[test]
fn a_changed_record_with_a_new_hash_is_detected_at_its_successor() {
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
    let mut tip = ChainTip { number: 6, hash: chain.rows[5].hash };
    let forged = tip.append(Timestamp::from_micros(1), &event("forged"));
    chain.rows.iter_mut().skip(6).for_each(|row| row.number += 1);
    chain.rows.insert(6, forged);
    chain.check(ChainViolation::Inserted { number: 7 });
}

#[test]
fn a_truncated_chain_is_detected_by_the_signed_head() {
    let mut chain = chain();
    chain.rows.truncate(15);
    chain.check(ChainViolation::Truncated { after: 15, signed: RECORDS });
    chain.rows.clear();
    chain.check(ChainViolation::Truncated { after: 0, signed: RECORDS });
}

#[test]
fn a_rewritten_chain_is_detected_between_two_signed_heads() {
    let mut chain = chain();
    let mut tip = ChainTip { number: 12, hash: chain.rows[11].hash };
    chain.rows.truncate(12);
    chain.rows.extend((13..=RECORDS).map(|_| tip.append(Timestamp::from_micros(1), &event("rewritten"))));
    chain.check(ChainViolation::Rewritten { after: SIGNED, through: RECORDS });
}

#[test]
fn a_signature_that_is_not_the_keys_own_is_named() {
    let mut chain = chain();
    let mut tip = ChainTip { number: 12, hash: chain.rows[11].hash };
    chain.rows.truncate(12);
    chain.rows.extend((13..=RECORDS).map(|_| tip.append(Timestamp::from_micros(1), &event("rewritten"))));
    chain.heads[0] = Signer::ephemeral([9; 32]).sign(HeadKind::Running, tip, Timestamp::from_micros(3));
    chain.check(ChainViolation::Forged { number: RECORDS });
    chain.heads.clear();
    chain.check(ChainViolation::Unsigned);
}

#[test]
fn a_record_after_a_closed_end_was_inserted() {
    let mut chain = chain();
    let tip = ChainTip { number: RECORDS, hash: chain.rows[19].hash };
    chain.heads.push(chain.signer.sign(HeadKind::Closed, tip, Timestamp::from_micros(4)));
    assert!(chain.report().is_valid());
    let mut end = tip;
    chain.rows.extend(extend(&mut end, RECORDS + 1..=RECORDS + 1));
    chain.check(ChainViolation::Inserted { number: RECORDS + 1 });
    chain.heads.push(chain.signer.sign(HeadKind::Running, tip, Timestamp::from_micros(5)));
    assert!(chain.report().is_valid(), "the next start may append after the end again");
}

#[test]
fn a_pruned_chain_starts_after_its_anchor_and_nowhere_else() {
    let mut chain = chain();
    let tip = ChainTip { number: 5, hash: chain.rows[4].hash };
    chain.heads.push(chain.signer.sign(HeadKind::Anchor, tip, Timestamp::from_micros(4)));
    chain.rows.drain(..5);
    let report = chain.report();
    assert_eq!(
        report,
        ChainReport { records: RECORDS - 5, anchor: 5, signed: RECORDS, breaks: Vec::new(), violation: None }
    );
    chain.rows.remove(0);
    chain.check(ChainViolation::Removed { number: 6 });
    chain.heads.pop();
    chain.check(ChainViolation::Removed { number: 1 });
}

#[test]
fn a_record_of_another_release_is_no_violation_and_a_changed_one_is() {
    let mut chain = chain();
    let mut tip = ChainTip { number: RECORDS, hash: chain.rows[19].hash };
    let json = r#"{"kind":"of_another_release","code":"removed_code"}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    chain.rows.push(tip.append(Timestamp::from_micros(1), &EventJson::from_event(&event).unwrap()));
    assert!(chain.rows[20].record.contains("removed_code") && chain.report().is_valid());
    chain.rows[20].record = chain.rows[20].record.replace("removed_code", "removed_cause");
    chain.check(ChainViolation::Changed { number: RECORDS + 1 });
}

#[test]
fn a_break_is_reported_with_both_heads_and_is_no_violation() {
    let mut chain = chain();
    let mut tip = ChainTip { number: RECORDS, hash: chain.rows[19].hash };
    let (backup, replaced) = ("/monday.db".to_owned(), RecordRef { number: 99, hash: tip.hash });
    let (issuer, tenant, user) = (Issuer::default(), TenantId::default(), UserId::new("admin").unwrap());
    let restored = Restored { issuer, tenant, user, backup, restored: tip.as_record(), replaced: Some(replaced) };
    let event = EventJson::from_event(&Event::Restored(restored.clone())).unwrap();
    chain.rows.push(tip.append(Timestamp::from_micros(5), &event));
    chain.heads.push(chain.signer.sign_break(tip, Timestamp::from_micros(5), Some(replaced)));
    let report = chain.report();
    assert!(report.is_valid() && report.signed == RECORDS + 1, "{report:?}");
    let expected = ChainBreak { number: RECORDS + 1, at: Timestamp::from_micros(5), restored };
    assert_eq!(report.breaks, [expected]);
    // Only the head of the chain that was replaced is not expected in this one.
    let key = chain.key();
    let head = |number| {
        chain.signer.sign(HeadKind::Closed, ChainTip { number, hash: replaced.hash }, Timestamp::from_micros(4))
    };
    assert!(head(99).is_replaced_by(&chain.heads, &key) && !head(98).is_replaced_by(&chain.heads, &key));
    let forged = Signer::ephemeral([9; 32]).sign_break(tip, Timestamp::from_micros(5), Some(replaced));
    assert!(!head(99).is_replaced_by(&[forged], &key), "a break that the key has not signed");
}
