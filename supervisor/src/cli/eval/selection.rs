//! Which examples are run: those that the chosen model can hold, and whose inputs are all there.

use greenroom_definitions::AgentSpec;
use greenroom_definitions::agent::{Example, RuntimeKind};
use greenroom_definitions::types::FieldType;

/// The provider that copies from its input, and is no language model.
const OFFLINE: &str = "offline.";

/// Why an example is not run; `None` if it is.
pub(super) fn reason_to_skip(spec: &AgentSpec, example: &Example, model: Option<&str>) -> Option<String> {
    if let Some(file) = spec
        .inputs
        .iter()
        .find(|field| field.value_type.contains_kind(FieldType::File) && example.inputs.contains_key(&field.name))
    {
        return Some(format!("the input `{}` is a file", file.name));
    }
    let is_offline = model.is_some_and(|model| model.starts_with(OFFLINE));
    let calls_model = spec.implementation.runtime == RuntimeKind::Llm;
    // Inputs are refused before a model is called.
    if is_offline && calls_model && !example.holds_offline && example.expect.fails().is_none() {
        return Some("it does not claim to hold offline".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(runtime: &str, kind: &str) -> AgentSpec {
        serde_json::from_value(json!({
            "agent_id": "a", "name": "A", "category": "c", "description": "D", "version": "1.0.0",
            "inputs": [{ "name": "data", "type": kind }], "outputs": [{ "name": "o", "type": "text" }],
            "implementation": { "runtime": runtime, "handler": "native.echo" }
        }))
        .unwrap()
    }

    fn example(expect: serde_json::Value, holds_offline: bool) -> Example {
        let example = json!({ "inputs": { "data": "x" }, "expect": expect, "holds_offline": holds_offline });
        serde_json::from_value(example).unwrap()
    }

    #[test]
    fn a_file_that_is_not_there_skips_the_example() {
        let skipped = reason_to_skip(&spec("native", "file"), &example(json!([]), false), None);
        assert_eq!(skipped.as_deref(), Some("the input `data` is a file"));
        assert_eq!(reason_to_skip(&spec("native", "text"), &example(json!([]), false), None), None);
    }

    #[test]
    fn offline_runs_what_claims_to_hold_and_what_needs_no_model() {
        let offline = Some("offline.extractive");
        let llm = spec("llm", "text");
        assert!(reason_to_skip(&llm, &example(json!([]), false), offline).is_some());
        assert_eq!(reason_to_skip(&llm, &example(json!([]), true), offline), None);
        assert_eq!(reason_to_skip(&llm, &example(json!([{ "fails": "invalid_input" }]), false), offline), None);
        assert_eq!(reason_to_skip(&spec("native", "text"), &example(json!([]), false), offline), None);
        assert_eq!(reason_to_skip(&llm, &example(json!([]), false), Some("tier.small")), None);
    }
}
