//! Exported copies: what is read back, and what is detected.

use greenroom_protocol::Timestamp;
use greenroom_protocol::audit::Event;

use super::*;
use crate::audit::ChainViolation;
use crate::audit::chain::{ChainTip, EventJson};
use crate::audit::head::HeadKind;
use crate::audit::root_chain::{ChainHead, RootEvent, registrations};
use crate::audit::signer::Signer;

const AT: Timestamp = Timestamp::from_micros(5);

fn append(tip: &mut ChainTip, event: &Event) -> ChainRow {
    tip.append(AT, &EventJson::from_event(event).unwrap())
}

fn system(number: u32) -> Event {
    Event::System { subject: "test".into(), message: number.to_string() }
}

/// A copy of two chains with three records each, whose ends are signed.
fn export_chains(path: &Path, signer: &Signer) -> ExportReport {
    let mut export = ExportWriter::create(path, "d", &signer.chain_key().to_hex()).unwrap();
    let mut events = registrations(signer, "d", "pod_1", &[0, 1], AT);
    let mut chains = Vec::new();
    for chain in [0, 1] {
        let mut tip = ChainTip::genesis();
        chains.push((chain, (0..3).map(|number| append(&mut tip, &system(number))).collect::<Vec<_>>()));
        let head = signer.for_chain("d", chain).sign(HeadKind::Closed, tip, AT);
        events.push(RootEvent::Heads { heads: vec![ChainHead { chain, head }] });
    }
    let mut root = ChainTip::genesis();
    for event in &events {
        let event = Event::Unknown(serde_json::to_value(event).unwrap());
        export.add_root(&append(&mut root, &event)).unwrap();
    }
    for (chain, rows) in &chains {
        rows.iter().for_each(|row| export.add_record(*chain, row).unwrap());
    }
    export.finish().unwrap()
}

/// A copy of one chain with three records.
fn export_chain(path: &Path, signer: &Signer) -> ExportReport {
    let mut export = ExportWriter::create(path, "d", &signer.chain_key().to_hex()).unwrap();
    let mut tip = ChainTip::genesis();
    let rows: Vec<_> = (0..3).map(|number| append(&mut tip, &system(number))).collect();
    export.add_head(signer.sign(HeadKind::Running, tip, AT)).unwrap();
    rows.iter().for_each(|row| export.add_record(0, row).unwrap());
    export.finish().unwrap()
}

#[test]
fn a_copy_of_one_chain_and_one_of_several_are_verified_with_the_public_key() {
    let dir = tempfile::tempdir().unwrap();
    let (signer, other) = (Signer::ephemeral([7; 32]), Signer::ephemeral([8; 32]));
    let (one, several) = (dir.path().join("one"), dir.path().join("several"));
    assert_eq!(export_chain(&one, &signer), ExportReport { root: 0, records: 3 });
    assert_eq!(export_chains(&several, &signer), ExportReport { root: 5, records: 6 });
    for (path, records) in [(&one, 3), (&several, 6)] {
        let report = verify_export(path, signer.chain_key()).unwrap();
        assert!(report.is_valid(), "{report:?}");
        assert_eq!((report.records, report.signed), (records, records));
        let foreign = verify_export(path, other.chain_key());
        assert!(matches!(foreign, Err(StoreError::OtherDirectory(_))), "{foreign:?}");
        assert!(ExportWriter::create(path, "d", "key").is_err(), "no file is replaced");
    }
}

#[test]
fn a_copy_that_was_changed_or_cut_off_is_not_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (signer, path) = (Signer::ephemeral([7; 32]), dir.path().join("copy"));
    export_chains(&path, &signer);
    let text = std::fs::read_to_string(&path).unwrap();
    let verify = |changed: String| {
        std::fs::write(&path, changed).unwrap();
        verify_export(&path, signer.chain_key())
    };
    let violation = |changed: String| verify(changed).unwrap().violation;
    assert_eq!(violation(text.clone()), None);
    let changed = violation(text.replacen("message\\\":\\\"1", "message\\\":\\\"9", 1));
    assert_eq!(changed, Some(ChainViolation::Changed { number: 2 }.in_chain(0)));
    // A whole chain that was removed, with the numbers in the last line.
    let removed = text.lines().filter(|line| !line.contains("\"line\":\"record\",\"chain\":1"));
    let removed = removed.map(|line| format!("{}\n", line.replace("\"records\":6", "\"records\":3"))).collect();
    assert_eq!(violation(removed), Some(ChainViolation::Truncated { after: 0, signed: 3 }.in_chain(1)));
    let cut: String = text.lines().take(9).map(|line| format!("{line}\n")).collect();
    for (damaged, problem) in [
        (cut, "not complete"),
        (text.replace("\"records\":6", "\"records\":7"), "does not have"),
        (text.replace("\"line\":\"root\"", "\"line\":\"head\""), "invalid line"),
        (String::new(), "no exported copy"),
    ] {
        let error = verify(damaged).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt(text) if text.contains(problem)), "{error}: {problem}");
    }
}
