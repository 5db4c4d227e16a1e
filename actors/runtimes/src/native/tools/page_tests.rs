//! `docs/tools.md` agrees with the tools: each has a section that names its arguments and the members of its result,
//! and an example that the tool computes.

use std::collections::BTreeSet;

use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::{CallKey, ErrorCode, Json, Values};

use super::super::tests::harness;
use super::all;

const PAGE: &str = include_str!("../../../../../docs/tools.md");

/// The sections of the page, by the name of the tool.
fn sections() -> Vec<(&'static str, &'static str)> {
    let parts = PAGE.split("\n## native:").skip(1);
    parts.map(|part| part.split_once('\n').unwrap()).collect()
}

/// The first and the second block of JSON of a section: arguments and result.
fn example(section: &str) -> (Json, Json) {
    let mut blocks = section.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut next = || serde_json::from_str(blocks.next().unwrap()).unwrap();
    (next(), next())
}

/// Whether a value has what is expected: the members of an object that are stated, and everything else.
fn includes(value: &Json, expected: &Json) -> bool {
    match (value, expected) {
        (Json::Object(value), Json::Object(expected)) => {
            expected.iter().all(|(name, expected)| value.get(name).is_some_and(|value| includes(value, expected)))
        }
        (Json::Array(value), Json::Array(expected)) => {
            value.len() == expected.len()
                && value.iter().zip(expected).all(|(value, expected)| includes(value, expected))
        }
        (Json::Number(value), Json::Number(expected)) => value.as_f64() == expected.as_f64(),
        (value, expected) => value == expected,
    }
}

fn properties(schema: &Json) -> Vec<String> {
    schema["properties"].as_object().map(|members| members.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn every_tool_has_a_section_and_every_section_a_tool() {
    let tools: Vec<String> = all().iter().map(|tool| tool.name().to_owned()).collect();
    let documented: Vec<String> = sections().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(documented, tools);
    assert_eq!(tools.iter().collect::<BTreeSet<_>>().len(), tools.len());
}

#[test]
fn a_section_names_each_argument_and_each_member_of_the_result() {
    for (tool, (name, section)) in all().iter().zip(sections()) {
        let (parameters, result) = (tool.parameters(), tool.result());
        assert_eq!(parameters["type"], "object", "{name}: {parameters}");
        assert!(!parameters.to_string().contains("$ref"), "{name}: {parameters}");
        for member in properties(&parameters).into_iter().chain(properties(&result)) {
            assert!(section.contains(&format!("`{member}`")), "{name} does not name `{member}`");
        }
    }
}

/// The text that the example of `read_artifact` reads.
const STORED: &str = "The first page.\nThe second page.\n";

#[tokio::test]
async fn each_example_is_what_the_tool_computes() {
    let harness = harness();
    harness.files.store_artifact(STORED.as_bytes(), "pages.txt", "text/plain").await.unwrap();
    for (tool, (name, section)) in all().iter().zip(sections()) {
        let (arguments, expected) = example(section);
        let input = ToolInput {
            arguments: serde_json::from_value(arguments).unwrap(),
            key: CallKey::new("k").unwrap(),
            trace: None,
        };
        let result = tool.call(&input, &harness.files).await.unwrap();
        assert!(includes(&result, &expected), "{name}: {result:#}");
    }
}

#[tokio::test]
async fn arguments_of_the_wrong_shape_are_rejected() {
    let harness = harness();
    for tool in all() {
        for arguments in
            [serde_json::json!({}), serde_json::json!({ "expression": 1, "table": 5, "values": {}, "x": [] })]
        {
            let input = ToolInput {
                arguments: serde_json::from_value(arguments).unwrap(),
                key: CallKey::new("k").unwrap(),
                trace: None,
            };
            assert!(Tool::call(&*tool, &input, &harness.files).await.is_err(), "{}", tool.name());
        }
    }
}

#[tokio::test]
async fn each_beginning_of_a_text_is_computed_or_rejected() {
    let harness = harness();
    for (tool, (name, section)) in all().iter().zip(sections()) {
        let members: Values = serde_json::from_value(example(section).0).unwrap();
        for (member, value) in &members {
            let text = value.as_str().unwrap_or_default();
            for (end, _) in text.char_indices() {
                let mut arguments = members.clone();
                arguments.insert(member.clone(), Json::from(&text[..end]));
                let input = ToolInput { arguments, key: CallKey::new("k").unwrap(), trace: None };
                let result = tool.call(&input, &harness.files).await;
                let is_expected = result.as_ref().err().is_none_or(|cause| cause.code != ErrorCode::HandlerFailed);
                assert!(is_expected, "{name}, {end} bytes of `{member}`: {result:?}");
            }
        }
    }
}
