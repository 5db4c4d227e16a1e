//! What a column is decided to be, by what its cells are.

use super::{Kind, Naming, Subject, decide};
use crate::tables::classify::evidence::{ColumnCell, Evidence};
use crate::tables::classify::findings::Findings;
use crate::tables::classify::meaning::meaning_of;
use crate::tables::grid::Cell;

fn decided(name: &str, texts: &[&str]) -> (Option<Kind>, usize) {
    let cells: Vec<Cell> = texts.iter().map(|text| Cell::from_text(text)).collect();
    let evidence = Evidence::collect((2..).zip(&cells).map(|(line, cell)| ColumnCell { line, cell }));
    let mut findings = Findings::default();
    let subject = Subject { name, naming: Naming::Stated, meaning: meaning_of(name), evidence: &evidence };
    let kind = decide(subject, &mut findings).ok().map(|decision| decision.kind);
    (kind, findings.notes.len() + findings.warnings.len())
}

#[test]
fn every_kind_is_decided_by_the_cells() {
    for (name, texts, expected) in [
        ("n", &["1", "2", "3"][..], Some(Kind::Number)),
        ("n", &["1", "2", "x"], None),
        ("n", &["1", "x", "y"], Some(Kind::Text)),
        ("n", &["a", "b", "a", "b"], Some(Kind::Category)),
        ("n", &["", "n/a"], Some(Kind::Text)),
        ("n", &["01", "2", "3"], Some(Kind::Identifier)),
        ("id", &["1", "2", "3"], Some(Kind::Identifier)),
        ("id", &["1.5", "2.5"], Some(Kind::Number)),
        ("year", &["2023", "2024"], Some(Kind::Identifier)),
        ("conversion_rate", &["0.1", "n.m.", "0.3"], Some(Kind::Number)),
        ("x", &["1001", "1002", "1003", "1004", "A5", "B6", "C7"], Some(Kind::Identifier)),
        ("x", &["1", "2", "1", "2", "1", "2", "S", "S"], Some(Kind::Category)),
    ] {
        assert_eq!(decided(name, texts).0, expected, "{name} {texts:?}");
    }
}

#[test]
fn a_decision_that_is_not_certain_is_reported() {
    for (name, texts, reported) in [
        ("n", &["1", "2", "3"][..], 0),
        ("n", &["a", "b", "c"], 0),
        ("n", &["1", "x", "y", "z"], 1),
        ("n", &["1", "n/a"], 1),
        ("n", &["1", "#REF!"], 1),
        ("n", &["1k", "2k"], 1),
        ("id", &["1", "2", "3"], 1),
        ("conversion_rate", &["0.1", "n.m.", "0.3"], 1),
    ] {
        assert_eq!(decided(name, texts).1, reported, "{name} {texts:?}");
    }
}
