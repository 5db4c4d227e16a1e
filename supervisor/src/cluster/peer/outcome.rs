//! The reply of another pod as the result of an invocation, and the replies to calls that no pipeline has seen.

use greenroom_actors::agent::ExecutionFailure;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::{Cause, ErrorCode, Metadata, Outcome, Reply, Status, Values, WrittenVersion};

/// The largest reply, in bytes: what crosses a session is bounded, as what reaches it.
const REPLY_BYTES_MAX: usize = 15 * 1024 * 1024;

/// The result of an invocation that another pod has executed.
///
/// # Errors
/// The cause of the reply, with its usage; [`ErrorCode::Internal`] if the bytes are no reply.
pub fn into_result(bytes: &[u8]) -> Result<Outcome, Box<ExecutionFailure>> {
    let unreadable = |error: serde_json::Error| {
        let message = format!("the reply of another pod cannot be read: {error}");
        Box::new(ExecutionFailure::from(Cause::new(ErrorCode::Internal, message)))
    };
    let reply: Reply = serde_json::from_slice(bytes).map_err(unreadable)?;
    let usage = usage(reply.metadata);
    match (reply.error, reply.status) {
        (None, Status::Success) => Ok(Outcome { outputs: reply.outputs, usage }),
        (Some(cause), _) => Err(Box::new(ExecutionFailure { cause, usage })),
        (None, status) => {
            let message = format!("another pod has replied {} without a cause", status.as_str());
            Err(Box::new(ExecutionFailure { cause: Cause::new(ErrorCode::Internal, message), usage }))
        }
    }
}

/// The usage that the metadata of a reply reports.
fn usage(metadata: Metadata) -> Usage {
    Usage {
        tokens: metadata.tokens_used,
        cost: metadata.cost,
        estimated: metadata.estimated,
        price: metadata.price,
        model: metadata.models.last().cloned().or(metadata.model),
        models: metadata.models,
        disclaimer: metadata.disclaimer,
        agents: metadata.agents,
        members: None,
        steps: metadata.workflow_steps,
        decisions: metadata.policy_decisions,
        denials: metadata.policy_denials,
        revisions: metadata.policy_revisions,
    }
}

/// A reply as bytes. One that is too large is replaced by its cause.
#[must_use]
pub fn reply_bytes(reply: &Reply) -> Vec<u8> {
    match serde_json::to_vec(reply) {
        Ok(bytes) if bytes.len() <= REPLY_BYTES_MAX => bytes,
        Ok(bytes) => {
            let message = format!("the reply has {} bytes, at most {REPLY_BYTES_MAX} are allowed", bytes.len());
            let usage = usage(reply.metadata.clone());
            failure_bytes(&reply.id, ExecutionFailure { cause: Cause::new(ErrorCode::PayloadTooLarge, message), usage })
        }
        Err(error) => rejection(&reply.id, Cause::new(ErrorCode::Internal, error.to_string())),
    }
}

/// The reply to a call that no pipeline has executed.
#[must_use]
pub fn rejection(id: &str, cause: Cause) -> Vec<u8> {
    failure_bytes(id, cause.into())
}

/// The reply to a call whose task has panicked.
#[must_use]
pub fn crashed_reply() -> Vec<u8> {
    rejection("", Cause::new(ErrorCode::AgentCrashed, "the pod that executes the call has failed in it"))
}

fn failure_bytes(id: &str, failure: ExecutionFailure) -> Vec<u8> {
    let ExecutionFailure { cause, usage } = failure;
    let reply = Reply {
        id: id.to_owned(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::from(usage),
        protocol_version: WrittenVersion::OWN,
    };
    // A reply without outputs is always JSON. No bytes at all would be read as an internal error.
    serde_json::to_vec(&reply).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{AgentId, MicroUsd, Tokens};

    use super::*;

    fn used() -> Usage {
        Usage {
            tokens: Tokens { input: 3, output: 4 },
            cost: MicroUsd(5),
            model: Some("play.one".to_owned()),
            models: vec!["play.one".to_owned()],
            agents: vec![AgentId::new("summary_agent").unwrap()],
            decisions: 2,
            revisions: vec!["r1".to_owned()],
            ..Usage::default()
        }
    }

    fn reply(error: Option<Cause>, outputs: Values) -> Reply {
        let status = error.as_ref().map_or(Status::Success, Status::from_cause);
        Reply {
            id: "req_1".to_owned(),
            status,
            outputs,
            error,
            metadata: Metadata::from(used()),
            protocol_version: WrittenVersion::OWN,
        }
    }

    #[test]
    fn a_reply_has_the_outputs_and_the_usage_of_the_execution() {
        let outputs = Values::from([("summary".to_owned(), serde_json::json!("short"))]);
        let outcome = into_result(&reply_bytes(&reply(None, outputs.clone()))).unwrap();
        assert_eq!(outcome, Outcome { outputs, usage: used() });
    }

    #[test]
    fn a_failure_has_its_cause_and_its_usage() {
        let cause = Cause::new(ErrorCode::HandlerFailed, "no");
        let failure = into_result(&reply_bytes(&reply(Some(cause.clone()), Values::new()))).unwrap_err();
        assert_eq!(*failure, ExecutionFailure { cause, usage: used() });
    }

    #[test]
    fn a_reply_that_is_too_large_is_a_cause_with_the_usage() {
        let large = serde_json::json!("x".repeat(REPLY_BYTES_MAX));
        let bytes = reply_bytes(&reply(None, Values::from([("summary".to_owned(), large)])));
        let failure = into_result(&bytes).unwrap_err();
        assert_eq!((failure.cause.code, failure.usage), (ErrorCode::PayloadTooLarge, used()));
    }

    #[test]
    fn bytes_that_are_no_reply_are_an_internal_error() {
        for bytes in [&b""[..], b"{}", b"\xff"] {
            assert_eq!(into_result(bytes).unwrap_err().cause.code, ErrorCode::Internal);
        }
        assert_eq!(into_result(&crashed_reply()).unwrap_err().cause.code, ErrorCode::AgentCrashed);
    }
}
