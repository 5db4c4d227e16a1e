//! From the end of an execution without outputs to the cause that its caller sees. No message has any part of an input.

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use super::interface::Failure;
use super::store_state::{CallLimits, InstanceLimit, TABLE_ELEMENTS_MAX};
use crate::json_bounds;

/// Bytes of a message of the engine.
const MESSAGE_BYTES_MAX: usize = 512;
/// Bytes of a message of a component.
const FAILURE_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the result of a component in a message.
const EXCERPT_BYTES_MAX: usize = 200;

/// The codes that a component may fail with by itself.
const COMPONENT_CODES: [ErrorCode; 5] = [
    ErrorCode::HandlerFailed,
    ErrorCode::InvalidData,
    ErrorCode::InvalidInput,
    ErrorCode::MissingInput,
    ErrorCode::NoDataForPeriod,
];

/// An execution that the engine has ended.
#[derive(Debug)]
pub(super) struct CallFailure {
    pub(super) error: wasmtime::Error,
    /// The last limit that has denied a growth.
    pub(super) denial: Option<InstanceLimit>,
}

impl CallFailure {
    /// The cause, which names the limit if there was one.
    pub(super) fn into_cause(self, limits: CallLimits) -> Cause {
        let Self { error, denial } = self;
        if error.is::<PoolConcurrencyLimitError>() {
            let message = "the engine executes as many components as it can";
            return Cause::new(ErrorCode::Overloaded, message).with_retry_after(std::time::Duration::from_secs(1));
        }
        let trap = error.downcast_ref::<Trap>().copied();
        if trap == Some(Trap::OutOfFuel) {
            let message = format!(
                "the component was stopped after {} instructions, which is what its `timeout` allows",
                limits.fuel
            );
            return limit_cause(message, "fuel");
        }
        let reason = match (error.downcast_ref::<I32Exit>(), trap) {
            (Some(I32Exit(status)), _) => format!("it has ended itself with the status {status}"),
            (None, Some(trap)) => format!("it has trapped: {trap}"),
            (None, None) => truncate_utf8(&format!("{error:#}"), MESSAGE_BYTES_MAX).to_owned(),
        };
        let denial_cause = |growth: String, limit| {
            limit_cause(format!("the component has failed after it was denied {growth}: {reason}"), limit)
        };
        let code = if trap.is_some() { ErrorCode::AgentCrashed } else { ErrorCode::HandlerFailed };
        match denial {
            Some(InstanceLimit::Memory) => {
                denial_cause(format!("more than {} MiB of memory", limits.memory_mib), "memory")
            }
            Some(InstanceLimit::Table) => {
                denial_cause(format!("a table of more than {TABLE_ELEMENTS_MAX} elements"), "table")
            }
            None => Cause::new(code, format!("the component has failed: {reason}")),
        }
    }
}

fn limit_cause(message: String, limit: &str) -> Cause {
    Cause::new(ErrorCode::HandlerFailed, message).with_details(json!({ "limit": limit }))
}

/// The cause that a component has returned. It may fail with a few codes by itself, and with those that its calls have
/// failed with; such a code has the details of that call. Any other is `handler_failed`.
pub(super) fn failure_cause(failure: Failure, cause_of_call: impl Fn(ErrorCode) -> Option<Cause>) -> Cause {
    let message = truncate_utf8(&failure.message, FAILURE_BYTES_MAX);
    let code = ErrorCode::ALL.iter().copied().find(|code| code.as_str() == failure.code);
    if let Some(cause) = code.and_then(cause_of_call) {
        return Cause { message: message.to_owned(), ..cause };
    }
    match code.filter(|code| COMPONENT_CODES.contains(code)) {
        Some(code) => Cause::new(code, message),
        None => {
            let code = truncate_utf8(&failure.code, EXCERPT_BYTES_MAX);
            Cause::new(ErrorCode::HandlerFailed, format!("the component has failed with {code:?}: {message}"))
        }
    }
}

/// The cause for a result that is no JSON object.
pub(super) fn output_error(text: &str, error: &serde_json::Error) -> Cause {
    let excerpt = truncate_utf8(text, EXCERPT_BYTES_MAX);
    let problem = json_bounds::describe(error);
    let message = format!("the component has not returned a JSON object of its outputs: {problem}: {excerpt:?}");
    Cause::new(ErrorCode::InvalidOutput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str, message: &str) -> Failure {
        Failure { code: code.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn a_component_fails_with_a_code_of_its_own_or_of_its_calls() {
        let denial = Cause::new(ErrorCode::PolicyDenied, "denied").with_details(json!({ "reasons": [] }));
        let of_call = |code: ErrorCode| (code == ErrorCode::PolicyDenied).then(|| denial.clone());
        let cause = failure_cause(failure("invalid_data", "line 3"), of_call);
        assert_eq!((cause.code, cause.message.as_str()), (ErrorCode::InvalidData, "line 3"));
        let cause = failure_cause(failure("policy_denied", "no access"), of_call);
        assert_eq!((cause.code, cause.message.as_str()), (ErrorCode::PolicyDenied, "no access"));
        assert_eq!(cause.details, denial.details);
        // A component cannot make the platform retry, or blame the platform.
        for code in ["overloaded", "internal", "lease_lost", "unknown", "nonsense", ""] {
            let cause = failure_cause(failure(code, "text"), of_call);
            assert_eq!(cause.code, ErrorCode::HandlerFailed, "{code}");
            assert_eq!(cause.message, format!("the component has failed with {code:?}: text"));
        }
        let long = failure_cause(failure("handler_failed", &"ä".repeat(10_000)), of_call);
        assert_eq!(long.message.len(), FAILURE_BYTES_MAX);
    }

    #[test]
    fn a_result_that_is_one_long_text_is_cut_in_the_message() {
        let text = format!("\"{}\"", "x".repeat(1_000_000));
        let error = serde_json::from_str::<greenroom_protocol::Values>(&text).unwrap_err();
        let cause = output_error(&text, &error);
        assert!(cause.message.len() < 1_000 && cause.message.contains("invalid type"), "{}", cause.message.len());
    }

    #[test]
    fn an_end_by_the_engine_names_its_limit() {
        let limits = CallLimits { memory_mib: 64, fuel: 1_000 };
        let cause = |error: wasmtime::Error, denial| CallFailure { error, denial }.into_cause(limits);
        let fuel = cause(Trap::OutOfFuel.into(), None);
        assert_eq!((fuel.code, &fuel.details["limit"]), (ErrorCode::HandlerFailed, &json!("fuel")));
        let memory = cause(Trap::UnreachableCodeReached.into(), Some(InstanceLimit::Memory));
        assert_eq!((memory.code, &memory.details["limit"]), (ErrorCode::HandlerFailed, &json!("memory")));
        assert!(memory.message.contains("more than 64 MiB"), "{memory}");
        let trap = cause(Trap::UnreachableCodeReached.into(), None);
        assert_eq!(trap.code, ErrorCode::AgentCrashed);
        let exit = cause(wasmtime::Error::new(I32Exit(3)), None);
        assert_eq!((exit.code, exit.message.contains("the status 3")), (ErrorCode::HandlerFailed, true), "{exit}");
        let other = cause(wasmtime::format_err!("{}", "x".repeat(10_000)), None);
        assert!(other.message.len() < 2 * MESSAGE_BYTES_MAX, "{}", other.message.len());
    }
}
