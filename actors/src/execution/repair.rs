//! An answer's text, read as the declared outputs; and what a model is told if it does not fit.

use greenroom_definitions::Agent;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

/// Bytes of problems that a model is told.
const PROBLEMS_BYTES_MAX: usize = 4 * 1024;

/// Reads the declared outputs. A fence around the JSON is no part of it.
///
/// # Errors
/// [`ErrorCode::InvalidOutput`], with every problem.
pub(super) fn read(agent: &Agent, inputs: &Values, text: &str) -> Result<Values, Cause> {
    let invalid = |why: String| {
        Cause::new(ErrorCode::InvalidOutput, format!("{}: the answer is not the declared object: {why}", agent.id()))
    };
    let value: Json = serde_json::from_str(unfenced(text)).map_err(|error| invalid(error.to_string()))?;
    match value {
        Json::Object(members) => agent.validate_outputs(inputs, members.into_iter().collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            Err(invalid("it is no JSON object".to_owned()))
        }
    }
}

/// What the model is asked after an answer that does not fit.
pub(super) fn request(cause: &Cause) -> String {
    let problems = match cause.details.get("problems") {
        Some(problems) => problems.to_string(),
        None => cause.message.clone(),
    };
    let cut = problems.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= PROBLEMS_BYTES_MAX);
    let problems = problems.get(..cut.last().unwrap_or_default()).unwrap_or_default();
    format!(
        "Your answer does not have the required shape. What is wrong: {problems}\n\
         Answer again, with the one JSON object that was asked for and nothing else."
    )
}

fn unfenced(text: &str) -> &str {
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
    fn a_fence_is_no_part_of_the_answer() {
        for text in [r#"{"summary":"x"}"#, "```json\n{\"summary\":\"x\"}\n```", "  ```{\"summary\":\"x\"}``` "] {
            assert_eq!(read(&agent(), &Values::new(), text).unwrap()["summary"], json!("x"), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_and_asked_for_again() {
        for text in ["hello", "[1]", r#"{"summary": 7}"#, "{}", ""] {
            let cause = read(&agent(), &Values::new(), text).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidOutput, "{text}");
            assert!(request(&cause).contains("Answer again"));
        }
    }

    #[test]
    fn what_the_model_is_told_is_bounded() {
        let cause = Cause::new(ErrorCode::InvalidOutput, "ö".repeat(100_000));
        assert!(request(&cause).len() < PROBLEMS_BYTES_MAX + 300);
    }
}
