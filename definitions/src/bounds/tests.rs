//! The scanners themselves: quotes, comments, raw blocks, and that they agree with the parsers.

use proptest::prelude::*;

use super::{TagKind, check_condition, check_template, tags};

#[test]
fn quoted_text_is_ignored() {
    let quoted = format!("inputs.a == '{}'", "(".repeat(100));
    assert!(check_condition(&quoted).is_ok());
    assert!(check_condition("inputs.a == 'it\\'s (((((((((((((((((((((((('").is_ok());
    assert!(check_condition("inputs.a == r'\\' && inputs.b == '((((((((((((((((((('").is_ok());
    assert!(check_condition(&format!("inputs.a == \"\"\"{}\"\"\"", "\" ( ".repeat(40))).is_ok());
    assert!(check_condition(&format!("true // {}", "(".repeat(100))).is_ok());
    assert!(check_template(&format!("{{{{ '{}' }}}}", "(".repeat(100))).is_ok());
    assert!(check_template(&format!("{{# {} #}}", "((((({%".repeat(100))).is_ok());
    assert!(check_template(&format!("{{% raw %}}{}{{% endraw %}}", "{{ ((((( * ~ ".repeat(100))).is_ok());
}

#[test]
fn tags_match_those_of_the_parser() {
    let text = "a {{ x }} { b } {%- if y == '%}' -%} c {# {{ z }} #}{% endif %}{{ {'k': {}} }}";
    let found: Vec<(TagKind, &str)> = tags(text).unwrap();
    assert_eq!(
        found,
        [
            (TagKind::Value, " x "),
            (TagKind::Statement, "- if y == '%}' -"),
            (TagKind::Statement, " endif "),
            (TagKind::Value, " {'k': {}} "),
        ]
    );
}

#[test]
fn many_short_tags_are_no_deep_one() {
    assert!(check_template(&"{{ inputs.text }}".repeat(900)).is_ok());
    assert!(check_template(&"{% if a %}{% endif %}".repeat(300)).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_a_scanner_panic(text in "[{}%#'\"\\\\()\\[\\]a-z .|+*~é\\n-]{0,200}") {
        let _ = check_condition(&text);
        let _ = check_template(&text);
    }
}
