//! What an example expects is checked for sense when it is loaded.

use crate::folder::Folder;

/// The problems of an agent whose only example has these inputs and this `expect`.
fn problems(inputs: &str, expect: &str) -> Vec<String> {
    let text = format!(
        "agent_id: a\nname: An agent\ncategory: business_ops\ndescription: It does something\nversion: \"1.0.0\"\n\
         inputs:\n  - {{ name: topic, type: text, required: true }}\noutputs:\n  - {{ name: result, type: text, \
         max_length: 10 }}\n  - name: rows\n    type: array\n    min_items: 2\n    items:\n      type: object\n      \
         properties: {{ amount: {{ type: number, maximum: 9 }}, free: object }}\n\
         implementation: {{ runtime: native, handler: native.echo }}\nexamples:\n  - inputs: {inputs}\n    expect: {expect}\n"
    );
    let folder = Folder::new().with("agents/business_ops/a.yaml", text);
    // The location differs with each example, so the messages alone are compared.
    folder.problems().iter().map(|problem| problem.split("]: ").nth(1).unwrap_or_default().to_owned()).collect()
}

fn refused(expect: &str) -> Vec<String> {
    problems("{ topic: bees }", expect)
}

#[test]
fn assertions_that_make_sense_have_no_problem() {
    for expect in [
        "[{ path: result, contains: bees, not_contains: [wasps], matches: '^b', length: { minimum: 1 } }]",
        "[{ path: 'rows[*].amount', minimum: 1, maximum: 9 }, { path: 'rows[0]', contains: '4' }]",
        "[{ path: rows, length: 2 }, { path: 'rows[1].free.any[3].thing', equals: 5 }]",
        "[{ contains: bees }, { not_contains: [a, b], matches: 'x' }]",
        "[{ fails: model_failed }]",
        "{ result: bees }",
        "[]",
    ] {
        assert_eq!(refused(expect), [] as [String; 0], "{expect}");
    }
    assert_eq!(problems("{}", "[{ fails: missing_input }]"), [] as [String; 0]);
    assert_eq!(problems("{ topic: bees, other: 1 }", "[{ fails: invalid_input }]"), [] as [String; 0]);
}

#[test]
fn an_assertion_that_can_never_hold_or_never_fail_is_an_error() {
    for (expect, problem) in [
        ("[{ path: resul, contains: a }]", "the agent has no output `resul`; did you mean `result`?"),
        ("[{ path: 'rows[0].amounts', minimum: 1 }]", "`rows[*]` has no property `amounts`; did you mean `amount`?"),
        ("[{ path: result.length, minimum: 1 }]", "`result` is a text, in which `result.length` leads nowhere"),
        ("[{ path: 'rows[', minimum: 1 }]", "\"rows[\" is not a path: it is `NAME`, then `.member`, `[0]` or `[*]`"),
        ("[{ path: result }]", "the assertion states nothing"),
        ("[{ path: result, minimum: 1 }]", "`result` is a text, to which `minimum` does not apply"),
        ("[{ path: 'rows[0].amount', length: 1 }]", "`rows[0].amount` is a number, to which `length` does not apply"),
        ("[{ path: 'rows[0].amount', matches: a }]", "`rows[0].amount` is a number, to which `matches` does not apply"),
        ("[{ path: 'rows[0].amount', equals: many }]", "the expected `rows[0].amount` must be a number, not \"many\""),
        (
            "[{ path: 'rows[0].amount', minimum: 10 }]",
            "`rows[0].amount` is at least 10 and at most 9, which no number is",
        ),
        ("[{ path: rows, length: 1 }]", "the length of `rows` is at least 2 and at most 1, which none is"),
        (
            "[{ path: result, length: { minimum: 11 } }]",
            "the length of `result` is at least 11 and at most 10, which none is",
        ),
        ("[{ equals: a }]", "without `path`, an assertion has `contains`, `not_contains` or `matches` only"),
        (
            "[{ fails: model_failed }, { path: result, contains: a }]",
            "an execution that fails has no outputs, so `fails` is the only assertion of its example",
        ),
        (
            "[{ fails: model_fail }]",
            "there is no error code `model_fail`, did you mean `model_failed`?; `greenroom explain` lists them",
        ),
        ("[{ fails: missing_input }]", "the inputs are valid, so the example does not fail with `missing_input`"),
        ("[{ path: result, contains: [] }]", "the list is empty; name at least one text"),
        ("[{ path: result, length: {} }]", "a length needs `minimum` or `maximum`"),
    ] {
        assert_eq!(refused(expect), [problem], "{expect}");
    }
}

#[test]
fn an_example_that_is_refused_for_another_reason_is_an_error() {
    let found = problems("{}", "[{ fails: invalid_input }]");
    assert!(found[0].starts_with("the example fails with `missing_input`, not with `invalid_input`: "), "{found:?}");
}

#[test]
fn a_pattern_of_an_assertion_is_bounded() {
    let found = refused("[{ path: result, matches: '(a{1000}){1000}' }]");
    assert!(found[0].starts_with("the automaton of the pattern needs more than"), "{found:?}");
}
