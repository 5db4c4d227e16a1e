//! Parses an answer as the declared outputs, and writes the repair message for an answer that does not
//! match.

use greenroom_definitions::Agent;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

/// Maximum size of the problems in a repair message.
const PROBLEMS_BYTES_MAX: usize = 4 * 1024;

/// Parses the declared outputs. A Markdown fence around the JSON is ignored.
///
/// # Errors
/// [`ErrorCode::InvalidOutput`], with every problem.
pub(super) fn parse_outputs(agent: &Agent, inputs: &Values, text: &str) -> Result<Values, Cause> {
    let invalid = |problem: String| {
        Cause::new(
            ErrorCode::InvalidOutput,
            format!("{}: the answer is not the declared object: {problem}", agent.id()),
        )
    };
    let value: Json = serde_json::from_str(strip_fence(text)).map_err(|error| invalid(error.to_string()))?;
    match value {
        Json::Object(members) => agent.validate_outputs(inputs, members.into_iter().collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(invalid("it is not a JSON object".to_owned()))
        }
    }
}

/// Writes the message that follows an answer that does not match.
pub(super) fn repair_message(cause: &Cause) -> String {
    let problems = match cause.details.get("problems") {
        Some(problems) => problems.to_string(),
        None => cause.message.clone(),
    };
    let problems = truncate_utf8(&problems, PROBLEMS_BYTES_MAX);
    format!(
        "Your answer does not have the required shape. What is wrong: {problems}\n\
         Answer again, with the one JSON object that was asked for and nothing else."
    )
}

fn strip_fence(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

#[cfg(test)]
mod tests {
    use greenroom_definitions::AgentSpec;
    use serde_json::json;

    use super::*;

    fn agent() -> Agent {
        let spec = json!({
            "agent_id": "a", "name": "A", "category": "c", "description": "d", "version": "1",
            "outputs": [{"name": "summary", "type": "text", "required": true}],
            "implementation": {"runtime": "llm"},
        });
        Agent::new(serde_json::from_value::<AgentSpec>(spec).unwrap()).unwrap()
    }

    #[test]
    fn a_fence_around_the_answer_is_ignored() {
        for text in [r#"{"summary":"x"}"#, "```json\n{\"summary\":\"x\"}\n```", "  ```{\"summary\":\"x\"}``` "] {
            assert_eq!(parse_outputs(&agent(), &Values::new(), text).unwrap()["summary"], json!("x"), "{text}");
        }
    }

    #[test]
    fn an_answer_that_does_not_match_is_followed_by_its_problems() {
        for text in ["hello", "[1]", r#"{"summary": 7}"#, "{}", ""] {
            let cause = parse_outputs(&agent(), &Values::new(), text).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidOutput, "{text}");
            assert!(repair_message(&cause).contains("Answer again"));
        }
    }

    #[test]
    fn a_repair_message_is_bounded() {
        let cause = Cause::new(ErrorCode::InvalidOutput, "ö".repeat(100_000));
        assert!(repair_message(&cause).len() < PROBLEMS_BYTES_MAX + 300);
    }
}
