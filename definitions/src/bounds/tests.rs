//! The scanners themselves: quotes, comments, raw blocks, and that they agree with the parsers.

use proptest::prelude::*;

use super::{TagKind, TemplateError, check_condition, check_template, tags};

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
    let found: Vec<(TagKind, &str)> = tags(text).unwrap().into_iter().map(|tag| (tag.kind, tag.inside)).collect();
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
fn a_tag_has_the_line_on_which_it_begins() {
    let text = "one\n{{ a }} {{ b\n}}\n{# {{ c }}\n#}{% raw %}\n{{ d }}\n{% endraw %}{ e }{% if f %}\n{% endif %}";
    let lines: Vec<(&str, usize)> = tags(text).unwrap().into_iter().map(|tag| (tag.inside.trim(), tag.line)).collect();
    assert_eq!(lines, [("a", 2), ("b", 2), ("if f", 7), ("endif", 8)]);
    for (text, line, message) in [
        ("one\ntwo {# three\nfour", 2, "has a comment that is not closed"),
        ("one\n\n{{ a\n", 3, "has a `{{` that is not closed"),
        ("{{ a }}\n{{ a * 2 }}\n", 2, "uses `*`; a prompt puts texts side by side"),
    ] {
        assert_eq!(check_template(text), Err(TemplateError::invalid(message.to_owned(), line)), "{text}");
    }
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
