//! The targets that need no runtime: each parses bytes and checks the properties of the result.

use std::collections::BTreeMap;

use greenroom_definitions::condition::Condition;
use greenroom_definitions::expr::Expr;
use greenroom_definitions::{AgentSpec, Plan, Prompt, Scope, WorkflowSpec, yaml};
use greenroom_protocol::received::IngressKind;
use greenroom_protocol::{ContentHash, Envelope, IdGenerator, Json, Received, StepId, Timestamp, Values};
use serde_json::json;

/// Tokens of definitions.
pub(super) const YAML_WORDS: &[&str] = &[
    "- ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "|\n",
    ">\n",
    "!!binary ",
    "---\n",
    "...",
    "<<: ",
    "\"",
    "'",
    "~",
    "steps:\n",
    "depends_on: ",
    "for_each: ",
    "agent: ",
    "  ",
    "\t",
    "\r\n",
    "1e999",
    "0x1F",
    ".nan",
    "\u{feff}",
];
/// Tokens of `${…}` expressions.
pub(super) const EXPRESSION_WORDS: &[&str] =
    &["${", "}", "inputs.", "context.", "steps.", ".outputs.", "first", "item", "index", "$$", "[0]", ".", "é"];
/// Tokens of CEL.
pub(super) const CEL_WORDS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "!",
    "-",
    " && ",
    " || ",
    " == ",
    " in ",
    " ? ",
    " : ",
    ".all(x, ",
    ".map(x, ",
    ".exists(x, ",
    ".filter(x, ",
    "size(",
    "has(",
    "matches(",
    "inputs.",
    "steps.first.",
    "context.",
    "1",
    "\"a\"",
    "null",
    "9223372036854775807",
    "1u",
    "1.5e308",
];
/// Tokens of templates.
pub(super) const TEMPLATE_WORDS: &[&str] = &[
    "{{ ",
    " }}",
    "{% for x in range(9) %}",
    "{% endfor %}",
    "{% if ",
    "{% endif %}",
    "{% set x = ",
    " %}",
    "{# ",
    " #}",
    "|batch(1000000)",
    "|upper",
    "|join(\",\")",
    "|replace(\"a\", \"b\")",
    "inputs.",
    "context.",
    "{% raw %}",
    "{% endraw %}",
    "{% macro m() %}",
    "{% endmacro %}",
    "{% include \"x\" %}",
    "{% import \"x\" as y %}",
    "*",
    "**",
];
/// Tokens of requests.
pub(super) const JSON_WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "1e400",
    "-0",
    "\\u0000",
    "\\ud800",
    "\"version\":1",
    "\"verb\":",
    "\"invoke\"",
    "\"start_run\"",
    "\"query\"",
    "\"credential\"",
    "\"deadline\"",
    "\"request\"",
];

/// Parses a file of the catalogue: tree, then types, then plan or templates.
pub(super) fn definition(bytes: &[u8]) {
    let Ok(tree) = yaml::parse(bytes) else { return };
    let document = tree.to_json();
    if let Ok(spec) = serde_json::from_value::<WorkflowSpec>(document.clone()) {
        // A compiled workflow has an order, so its plan contains each of its steps.
        if let Ok(plan) = Plan::compile(&spec, ContentHash::from_content(bytes)) {
            assert!(spec.steps.iter().all(|step| plan.step(&step.id).is_some()), "the plan lacks a step");
        }
    }
    if let Ok(spec) = serde_json::from_value::<AgentSpec>(document) {
        drop(Prompt::compile(&spec));
    }
}

/// The values that a run provides when it evaluates an expression.
struct ScopeValues {
    inputs: Values,
    context: Values,
    steps: BTreeMap<StepId, Values>,
    item: Json,
}

impl ScopeValues {
    fn new() -> Self {
        let to_values = |value: Json| match value {
            Json::Object(members) => members.into_iter().collect(),
            other => Values::from([("value".to_owned(), other)]),
        };
        let inputs = to_values(json!({"a": "text", "n": 3, "list": [1, 2, 3], "map": {"k": "v"}, "none": null}));
        let steps = StepId::new("first").map(|step| (step, inputs.clone())).into_iter().collect();
        Self { context: to_values(json!({"quarter": "Q4 2024"})), item: json!({"name": "one"}), steps, inputs }
    }

    fn scope(&self) -> Scope<'_> {
        Scope { item: Some(&self.item), index: Some(1), ..Scope::new(&self.inputs, &self.context, &self.steps) }
    }
}

/// Parses and evaluates a value with `${…}`.
pub(super) fn expression(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let values = ScopeValues::new();
    let Ok(parsed) = Expr::parse(&Json::String(text.to_owned())) else { return };
    let first = parsed.evaluate(&values.scope());
    assert_eq!(first, parsed.evaluate(&values.scope()), "an expression has one value");
    if parsed.references().is_empty() {
        assert!(first.is_some(), "an expression without references always has a value");
    }
}

/// Compiles and evaluates a `when` condition.
pub(super) fn condition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let values = ScopeValues::new();
    let Ok(compiled) = Condition::compile(text) else { return };
    let first = compiled.evaluate(&values.scope());
    let second = compiled.evaluate(&values.scope());
    assert_eq!(first.as_ref().ok(), second.as_ref().ok(), "a condition has one value");
}

/// Renders a prompt's user part, and data that looks like a template.
pub(super) fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let values = ScopeValues::new();
    for (template, data) in [(text, "plain"), ("{{ inputs.a }}", text)] {
        let Ok(spec) = serde_json::from_value::<AgentSpec>(agent(template)) else { return };
        let Ok(prompt) = Prompt::compile(&spec) else { continue };
        let inputs = Values::from([("a".to_owned(), json!(data))]);
        let rendered = prompt.render_user(&inputs, &values.context);
        if template != text {
            assert_eq!(rendered.ok().as_deref(), Some(data), "data must never be parsed as a template");
        }
    }
}

fn agent(user: &str) -> Json {
    json!({
        "agent_id": "a_001", "name": "A", "category": "business_ops", "description": "d", "version": "1.0.0",
        "inputs": [{"name": "a", "type": "text", "required": true}],
        "outputs": [{"name": "b", "type": "text"}],
        "implementation": {"runtime": "llm", "model": "tier.small", "timeout": 5, "memory": 64, "prompt": {"user": user}},
    })
}

struct Fixed;

impl IdGenerator for Fixed {
    fn next_id(&self) -> u128 {
        7
    }
}

/// Decodes a request from the network.
pub(super) fn envelope(bytes: &[u8]) {
    let now = Timestamp::from_micros(1_735_787_045_000_000);
    let Ok(received) = Received::decode(bytes, IngressKind::Http, &Fixed, now) else { return };
    assert!(!received.deadline().has_passed(now), "a received request has time remaining");
    let request = received.request().clone();
    let written = serde_json::to_vec(&Envelope::new(request.clone())).unwrap_or_default();
    let read = Received::decode(&written, IngressKind::Http, &Fixed, now);
    assert_eq!(read.ok().as_ref().map(Received::request), Some(&request), "a request survives its JSON");
}
