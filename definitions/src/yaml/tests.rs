//! Tests of trees and the positions of their nodes.

use greenroom_protocol::Json;
use proptest::prelude::*;
use serde_json::json;

use super::{NodeValue, PathSegment, Position, parse};
use crate::problem::ProblemKind;

fn json_of(text: &str) -> Json {
    parse(text.as_bytes()).unwrap().to_json()
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    assert_eq!(
        json_of("a: 1\nb: 1.5\nc: true\nd: ~\ne: text\nf: '1'\ng: 0x1F\nh: -3\ni: 1e3\nj:\nk: yes\nl: 1.2.3\nm: 2025-01-15\nn: .inf\no: -\n"
            .replace("o: -\n", "o: '-'\n")
            .as_str()),
        json!({
            "a": 1, "b": 1.5, "c": true, "d": null, "e": "text", "f": "1", "g": 31, "h": -3, "i": 1000.0, "j": null,
            "k": "yes", "l": "1.2.3", "m": "2025-01-15", "n": ".inf", "o": "-"
        })
    );
}

#[test]
fn blocks_anchors_and_flows_become_one_tree() {
    assert_eq!(
        json_of("base: &base { a: [1, 2] }\nsame: *base\ntext: |\n  line one\n  line two\nfolded: >-\n  a\n  b\n"),
        json!({
            "base": { "a": [1, 2] }, "same": { "a": [1, 2] }, "text": "line one\nline two\n", "folded": "a b"
        })
    );
}

#[test]
fn a_path_resolves_to_the_nearest_node() {
    let node = parse("a:\n  - x: 1\n  - y: 2\n".as_bytes()).unwrap();
    let at = |path: &[PathSegment<'_>]| node.nearest(path).at;
    assert_eq!(
        at(&[PathSegment::Name("a"), PathSegment::Item(1), PathSegment::Name("y")]),
        Position { line: 3, column: 8 }
    );
    assert_eq!(
        at(&[PathSegment::Name("a"), PathSegment::Item(1), PathSegment::Name("z")]),
        Position { line: 3, column: 5 }
    );
    assert_eq!(at(&[PathSegment::Name("b")]), Position { line: 1, column: 1 });
}

#[test]
fn columns_count_characters() {
    let node = parse("ä: { ö: ü, b: 1 }\n".as_bytes()).unwrap();
    assert_eq!(node.nearest(&[PathSegment::Name("ä"), PathSegment::Name("b")]).at, Position { line: 1, column: 15 });
}

#[test]
fn a_name_that_occurs_twice_is_found_in_maps_of_every_size() {
    for count in [1, 2, 23, 24, 25, 26, 300] {
        let map: String = (0..count).map(|number| format!("key_{number}: 1\n")).collect();
        let NodeValue::Map(entries) = parse(map.as_bytes()).unwrap().value else { panic!("a map") };
        assert_eq!(entries.len(), count);
        for repeated in [0, count / 2, count - 1] {
            let found = parse(format!("{map}key_{repeated}: 2\n").as_bytes()).unwrap_err();
            assert_eq!((found.kind, found.at.line as usize), (ProblemKind::DuplicateKey, count + 1), "{repeated}");
        }
    }
}

#[test]
fn a_control_character_is_found_wherever_it_is() {
    for (text, column) in [("a: b\u{1}", 5), ("a: \u{7f}b", 4), ("ä: \u{a0}\u{80}", 5), ("é: '\u{9f}'", 5)] {
        let found = parse(text.as_bytes()).unwrap_err();
        assert_eq!(found.at, Position { line: 1, column }, "{text:?}: {}", found.found);
        assert!(found.found.contains("control character"), "{text:?}: {}", found.found);
    }
    assert!(parse("a: 'c\tÂ\u{a1}'".as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-c:\\[\\]{}&*!|>'\"#%@,?~ \\n\\t-]{0,200}") {
        let _ = parse(text.as_bytes());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}

#[test]
fn a_number_sign_that_cuts_a_text_is_an_error_where_it_is() {
    for (text, column) in [("a: Rank #1 first", 9), ("- \u{e4}b \t #2", 8), ("a: x\n  y #3", 5), ("a: {b: c #4\n}", 10)]
    {
        let error = parse(text.as_bytes()).unwrap_err();
        assert!(error.found.contains("is a comment here"), "{text}: {error:?}");
        assert_eq!(error.at.column, column, "{text}: {error:?}");
    }
    for text in [
        "a: 10 #1",
        "a: text # 1",
        "a: text #comment",
        "a: 'Rank' #1",
        "a: 'Rank #1 first'",
        "a: |\n  Rank #1 first\n  b\n",
        "a: C#1",
        "a: {b: c} #1",
        "#1\na: b",
        "a: b\n#1",
    ] {
        assert!(parse(text.as_bytes()).is_ok(), "{text}: {:?}", parse(text.as_bytes()));
    }
}
