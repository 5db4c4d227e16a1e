//! Tests of includes: their form, their replacement and their bounds.

use std::collections::BTreeMap;

use super::{INCLUDES_MAX, expand, includes, is_name, without_includes};

fn snippets(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn expanded(text: &str, all: &[(&str, &str)]) -> Result<String, String> {
    expand(text, &snippets(all)).map_err(|error| error.message)
}

#[test]
fn an_include_is_replaced_by_its_snippet_and_those_in_it() {
    let all = [("a", "A\n{% include 'b' %}\n"), ("b", "B {{ agent.name }}\n")];
    assert_eq!(expanded("1\n{% include \"a\" %}\n2\n", &all).as_deref(), Ok("1\nA\nB {{ agent.name }}\n2\n"));
    assert_eq!(expanded("{%- include \"b\" -%}", &all).as_deref(), Ok("B {{ agent.name }}"));
    let without = "no include {% if agent.name %}x{% endif %}";
    assert_eq!(expanded(without, &all).as_deref(), Ok(without));
}

#[test]
fn what_is_raw_or_a_comment_is_no_include() {
    let text = "{% raw %}{% include \"a\" %}{% endraw %}{# {% include \"a\" %} #}";
    assert_eq!(expanded(text, &[("a", "A")]).as_deref(), Ok(text));
}

#[test]
fn an_include_has_one_form() {
    for text in
        ["{% include a %}", "{% include \"A\" %}", "{% include [\"a\"] %}", "{% include \"a\" ignore missing %}"]
    {
        let error = includes(text).unwrap_err();
        assert!(error.message.contains("of the form `{% include \"NAME\" %}`"), "{text}: {}", error.message);
    }
    assert!(includes("{% included %}").unwrap().is_empty());
    assert_eq!(includes("x\n\n{% include 'a_1' %}").unwrap()[0].line, 3);
    assert!(is_name("house_style") && !is_name("") && !is_name("a-b") && !is_name("a/b"));
}

#[test]
fn the_text_of_the_author_keeps_its_lines() {
    assert_eq!(without_includes("a\n{% include\n\"b\" %}c\n{% if x %}").unwrap(), "a\n\nc\n{% if x %}");
}

#[test]
fn a_snippet_that_is_missing_or_includes_itself_is_an_error() {
    assert_eq!(
        expanded("{% include \"b\" %}", &[("a", "A")]).unwrap_err(),
        "includes the snippet `b`, which does not exist"
    );
    let cycle = [("a", "{% include 'b' %}"), ("b", "{% include 'a' %}")];
    assert!(expanded("{% include 'a' %}", &cycle).unwrap_err().contains("4 levels deep"));
}

#[test]
fn snippets_of_nothing_but_includes_do_not_multiply() {
    let many = "{% include 'b' %}".repeat(200);
    let all = [("a", many.as_str()), ("b", "")];
    let error = expanded(&many, &all).unwrap_err();
    assert!(error.contains(&format!("more than {INCLUDES_MAX} includes")), "{error}");
    let long = "x".repeat(4_000);
    let text = "{% include 'a' %}".repeat(10);
    assert!(expanded(&text, &[("a", &long)]).unwrap_err().contains("bytes with its snippets"));
}
