//! Parses an answer as the declared outputs, and writes the repair message for an answer that does not match.

use greenroom_definitions::types::outline;
use greenroom_definitions::{Agent, Field};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Values};

use super::answer_json::{JsonObject, find_objects};

/// Maximum size of the problems in a repair message.
const PROBLEMS_BYTES_MAX: usize = 4 * 1024;
/// Maximum size of the description of the outputs in a repair message.
const OUTLINE_BYTES_MAX: usize = 16 * 1024;

/// Parses the declared outputs from the one object of the answer.
///
/// # Errors
/// [`ErrorCode::InvalidOutput`], with every problem.
pub(super) fn parse_outputs(agent: &Agent, inputs: &Values, text: &str) -> Result<Values, Cause> {
    let mut objects = find_objects(text);
    let validate = |object: JsonObject| agent.validate_outputs(inputs, object.into_iter().collect());
    let Some(last) = objects.pop() else { return Err(no_object(agent, text)) };
    if objects.is_empty() {
        return validate(last);
    }
    let last_outputs = validate(last);
    let mut valid: Vec<Values> = objects.into_iter().filter_map(|object| validate(object).ok()).collect();
    match (last_outputs, valid.len()) {
        (Ok(outputs), 0) => Ok(outputs),
        (Err(cause), 0) => Err(cause),
        (Err(_), 1) => valid.pop().ok_or_else(|| no_object(agent, text)),
        (Ok(_) | Err(_), _) => {
            let message = format!("{}: the answer has several objects that match, and it must be one", agent.id());
            Err(Cause::new(ErrorCode::InvalidOutput, message))
        }
    }
}

fn no_object(agent: &Agent, text: &str) -> Cause {
    let found = if text.trim().is_empty() { "it is empty" } else { "it has no JSON object" };
    let message = format!(
        "{}: the answer is not the declared object: {found}. If this is so for every answer, the server may ignore the \
         schema (`response_format`) that it was sent",
        agent.id()
    );
    Cause::new(ErrorCode::InvalidOutput, message)
}

/// Writes the message that follows an answer that does not match: what is wrong, and the shape in words, since the
/// server may have ignored the schema of the request.
pub(super) fn repair_message(agent: &Agent, cause: &Cause) -> String {
    let problems = match cause.details.get("problems") {
        Some(problems) => problems.to_string(),
        None => cause.message.clone(),
    };
    let fields: Vec<Field> = agent.spec().outputs.iter().filter(|field| field.from.is_none()).cloned().collect();
    let shape = outline(&fields);
    format!(
        "Your answer does not have the required shape. What is wrong: {}\n\
         Answer again, with one JSON object and nothing else: no words and no fence around it. It has these members \
         (name: type):\n{}",
        truncate_utf8(&problems, PROBLEMS_BYTES_MAX),
        truncate_utf8(&shape, OUTLINE_BYTES_MAX)
    )
}

#[cfg(test)]
mod tests {
    use greenroom_definitions::AgentSpec;
    use serde_json::json;

    use super::*;

    fn agent() -> Agent {
        let rows = json!({ "type": "object", "properties": { "amount": { "type": "number", "unit": "EUR" } } });
        let spec = json!({
            "agent_id": "a", "name": "A", "category": "c", "description": "d", "version": "1",
            "outputs": [
                {"name": "summary", "type": "text", "required": true, "max_length": 20},
                {"name": "rows", "type": "array", "items": rows, "required": false},
                {"name": "copied", "type": "text", "required": true, "from": "document"},
            ],
            "implementation": {"runtime": "llm"},
        });
        Agent::new(serde_json::from_value::<AgentSpec>(spec).unwrap()).unwrap()
    }

    fn parse(text: &str) -> Result<Values, Cause> {
        parse_outputs(&agent(), &Values::from([("document".to_owned(), json!("d"))]), text)
    }

    #[test]
    fn the_one_object_that_matches_is_the_answer() {
        for text in [
            r#"{"summary":"x"}"#,
            "```json\n{\"summary\":\"x\"}\n```",
            "An example is {\"summary\": 7}. Mine: {\"summary\":\"x\"}",
            "{\"summary\":\"x\"}, which is not {\"title\": \"x\"}",
        ] {
            assert_eq!(parse(text).unwrap()["summary"], json!("x"), "{text}");
        }
    }

    #[test]
    fn an_answer_that_does_not_match_is_followed_by_its_problems_and_the_shape() {
        let several = "{\"summary\":\"x\"} or {\"summary\":\"y\"}";
        for text in ["hello", "[1]", r#"{"summary": 7}"#, "{}", "", several] {
            let cause = parse(text).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidOutput, "{text}");
            let message = repair_message(&agent(), &cause);
            for part in ["Answer again", "summary: text, at most 20 characters", "rows: array of object", "amount"] {
                assert!(message.contains(part), "{part}: {message}");
            }
            assert!(!message.contains("copied"), "no model writes what is copied: {message}");
        }
        assert!(parse("hello").unwrap_err().message.contains("response_format"));
    }

    #[test]
    fn a_repair_message_is_bounded() {
        let cause = Cause::new(ErrorCode::InvalidOutput, "ö".repeat(100_000));
        assert!(repair_message(&agent(), &cause).len() < PROBLEMS_BYTES_MAX + 600);
    }
}
