//! Parses an answer as the declared outputs, and writes the repair message for an answer that does not match.

use greenroom_definitions::types::outline;
use greenroom_definitions::{Agent, Field};
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode, Values};

use super::answer_json::{FoundObjects, JsonObject, find_objects};
use super::stream::ModelAnswer;

/// Maximum size of the problems in a repair message.
const PROBLEMS_BYTES_MAX: usize = 4 * 1024;
/// Maximum size of the description of the outputs in a repair message.
const OUTLINE_BYTES_MAX: usize = 16 * 1024;

/// Parses the declared outputs from the one object of the answer.
///
/// # Errors
/// [`ErrorCode::InvalidOutput`], with every problem.
pub(super) fn parse_outputs(agent: &Agent, inputs: &Values, answer: &ModelAnswer) -> Result<Values, Cause> {
    let FoundObjects { mut objects, problem } = find_objects(&answer.text);
    let validate = |object: JsonObject| agent.validate_outputs(inputs, object.into_iter().collect());
    let not_one_object = || no_object(agent, answer, problem.as_deref());
    let Some(last) = objects.pop() else { return Err(not_one_object()) };
    if objects.is_empty() && problem.is_none() {
        return validate(last);
    }
    let last_outputs = validate(last);
    let mut valid: Vec<Values> = objects.into_iter().filter_map(|object| validate(object).ok()).collect();
    match (last_outputs, valid.len()) {
        (Ok(outputs), 0) => Ok(outputs),
        // The objects are parts of one that cannot be parsed.
        (Err(_), 0) if problem.is_some() => Err(not_one_object()),
        (Err(cause), 0) => Err(cause),
        (Err(_), 1) => valid.pop().ok_or_else(not_one_object),
        (Ok(_) | Err(_), _) => {
            let message = format!("{}: the answer has several objects that match, and it must be one", agent.id());
            Err(Cause::new(ErrorCode::InvalidOutput, message))
        }
    }
}

fn no_object(agent: &Agent, answer: &ModelAnswer, problem: Option<&str>) -> Cause {
    let ignored =
        "If this is so for every answer, the server may ignore the schema (`response_format`) that it was sent";
    let found = match problem {
        Some(problem) => format!("its JSON object cannot be parsed: {problem}, counted from its first brace"),
        None if !answer.text.trim().is_empty() => format!("it has no JSON object. {ignored}"),
        None if answer.has_reasoning => {
            "the model wrote its reasoning and no answer. If every answer is so, increase `limits.max_tokens`, \
             or switch the reasoning off"
                .to_owned()
        }
        None => format!("it is empty. {ignored}"),
    };
    let message = format!("{}: the answer is not the declared object: {found}", agent.id());
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
    use crate::model::StopReason;

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
        parse_answer(text, false)
    }

    fn parse_answer(text: &str, has_reasoning: bool) -> Result<Values, Cause> {
        let answer =
            ModelAnswer { text: text.to_owned(), calls: Vec::new(), stop: StopReason::Complete, has_reasoning };
        parse_outputs(&agent(), &Values::from([("document".to_owned(), json!("d"))]), &answer)
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
    fn an_answer_that_is_nearly_right_is_read_or_its_position_is_named() {
        for text in ["{\"summary\": \"x\",}", "{\"summary\": \"x\",\n}"] {
            assert_eq!(parse(text).unwrap()["summary"], json!("x"), "{text}");
        }
        assert_eq!(parse("{\"summary\": \"x\ny\"}").unwrap()["summary"], json!("x\ny"));
        for (text, position) in [
            ("{\"summary\": NaN}", "line 1 column 13"),
            ("{ // mine\n'summary': \"x\"}", "line 1 column 3"),
            ("{\"rows\": [{\"amount\": 1}], \"summary\": NaN}", "line 1 column 38"),
            ("{\"summary\": \"x", "EOF"),
        ] {
            let cause = parse(text).unwrap_err();
            let message = repair_message(&agent(), &cause);
            assert!(cause.message.contains(position) && message.contains(position), "{text}: {message}");
            assert!(!cause.message.contains("response_format"), "{}", cause.message);
        }
    }

    #[test]
    fn an_answer_of_reasoning_alone_is_called_so() {
        let message = parse_answer(" ", true).unwrap_err().message;
        assert!(message.contains("reasoning and no answer"), "{message}");
        assert!(parse_answer("", false).unwrap_err().message.contains("it is empty"));
    }

    #[test]
    fn a_repair_message_is_bounded() {
        let cause = Cause::new(ErrorCode::InvalidOutput, "ö".repeat(100_000));
        assert!(repair_message(&agent(), &cause).len() < PROBLEMS_BYTES_MAX + 600);
    }
}
