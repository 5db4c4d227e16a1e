//! The response of a service: `{"outputs": {NAME: VALUE}}` with the status 200, or an error status.

use greenroom_actors::concurrency::spawn_blocking;
use greenroom_protocol::{Cause, ErrorCode, Values, strict_json};
use serde::Deserialize;

use crate::outbound::credentials::Credentials;
use crate::outbound::failure::{OutboundError, cause_from_status};
use crate::outbound::response::OutboundResponse;

/// Bytes of a body above which it is parsed on a blocking thread.
const INLINE_PARSE_BYTES_MAX: usize = 256 * 1024;

/// What a service sends. Other members are ignored, so that a service may have more to say to other callers.
#[derive(Deserialize)]
struct ServiceReply {
    /// The outputs of the agent, by name.
    outputs: Values,
}

/// Reads the outputs.
///
/// # Errors
/// [`ErrorCode::ServiceFailed`] for a response that is none; a cause of its status.
pub(super) async fn read_outputs(
    response: OutboundResponse,
    server: &str,
    credentials: &Credentials,
) -> Result<Values, Cause> {
    if response.status.as_u16() != 200 {
        return Err(cause_from_status(&response, server, credentials));
    }
    if !response.is_json() {
        let media_type = credentials.redact(&response.media_type(), 100);
        let problem = format!("its content type is {media_type:?}, not `application/json`");
        return Err(OutboundError::Unreadable(problem).cause(server));
    }
    let parsed = if response.body.len() <= INLINE_PARSE_BYTES_MAX {
        parse(&response.body)
    } else {
        let parsing = spawn_blocking(move || parse(&response.body));
        parsing.await.map_err(|_| Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down"))?
    };
    parsed.map_err(|problem| OutboundError::Unreadable(problem).cause(server))
}

/// Parses a body; a problem names the position, or the member that occurs twice or has a number of too many digits, and
/// quotes nothing else of the body.
fn parse(body: &[u8]) -> Result<Values, String> {
    match serde_json::from_slice::<ServiceReply>(body) {
        Ok(reply) => match strict_json::check(body) {
            Ok(()) => Ok(reply.outputs),
            Err(ambiguity) => Err(ambiguity.to_string()),
        },
        Err(error) if error.is_data() => {
            Err(r#"it is not `{"outputs": {…}}` with the outputs of the agent by name"#.to_owned())
        }
        Err(error) => Err(format!("it is no JSON at line {}, column {}", error.line(), error.column())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outputs_are_one_member_of_the_response() {
        let outputs = parse(br#"{"outputs": {"text": "x", "n": 1}, "took_ms": 3}"#).unwrap();
        assert_eq!(outputs.len(), 2);
        for body in [r#"{"text": "x"}"#, "[]", "null", r#"{"outputs": []}"#, r#"{"outputs": null}"#, r#""x""#] {
            assert!(parse(body.as_bytes()).unwrap_err().contains("outputs"), "{body}");
        }
        for body in ["", "{", "not json", "\u{0}", r#"{"outputs": {"a": 01}}"#] {
            assert!(parse(body.as_bytes()).unwrap_err().contains("no JSON at line"), "{body}");
        }
        let twice = parse(br#"{"outputs": {"text": "x", "text": "y"}}"#).unwrap_err();
        assert!(twice.contains("`outputs.text` occurs twice"), "{twice}");
        let deep = format!("{{\"outputs\": {{\"a\": {}1{}}}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(deep.as_bytes()).unwrap_err().contains("no JSON"));
    }
}
