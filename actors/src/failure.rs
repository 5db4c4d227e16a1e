//! The failure policies: one table from the class of a failure to the retry action, and one retry budget for all work
//! of a run.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use crate::model::{CallPhase, ModelError};
use crate::supervision::Backoff;

mod provider_backoff;
mod retry_budget;

pub use provider_backoff::{BackoffDelay, ProviderBackoff};
pub use retry_budget::{RETRIES_DEFAULT, RetryBudget, RetryBudgets};

/// Maximum repairs of answers that do not match their definition, in one execution.
pub const REPAIRS_MAX: u32 = 2;
/// Calls of one model for one turn, its retries and its repairs included, unless the definition has a retry policy of
/// its own.
pub const MODEL_CALLS_MAX: u32 = 3;

/// The classes of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The provider has no capacity.
    Overloaded,
    /// No connection could be made, so nothing was sent.
    Unreachable,
    /// The provider failed, or the connection broke off.
    ProviderFailed,
    /// The provider's answer cannot be read.
    MalformedResponse,
    /// The provider exceeded a timeout.
    ProviderTimeout,
    /// The provider does not accept the key.
    Unauthorized,
    /// The provider rejected the request.
    Rejected,
    /// The request exceeds the model's context.
    ContextOverflow,
    /// The answer was truncated.
    Truncated,
    /// The model refused to answer.
    Refusal,
    /// The provider is not a language model and cannot answer.
    Unanswerable,
    /// The answer does not have the declared outputs.
    InvalidOutput,
    /// A budget is exceeded.
    Budget,
    /// Policy denied it.
    Policy,
    /// The deadline or the definition's timeout passed.
    DeadlineExceeded,
    /// The agent's code panicked or its actor failed.
    Crash,
}

/// The retry action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAction {
    /// No retry.
    None,
    /// The same model, up to a number of attempts, then the next of its fallback chain.
    SameModelThenFallback {
        /// Attempts at one model for one turn, the first one included. The retry policy of a definition replaces it.
        attempts_max: u32,
    },
    /// The next model of the fallback chain; after the last one, the retry policy of the definition if the failure is
    /// retryable.
    Fallback,
    /// The same model, with a description of the problem, at most [`REPAIRS_MAX`] times.
    RepairOutput,
    /// The retry policy of the definition.
    DefinitionRetry,
}

/// The scope of a back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackoffScope {
    /// Every execution that calls this provider.
    Provider,
    /// This execution.
    Execution,
    /// No execution.
    None,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePolicy {
    /// The retry action.
    pub action: RetryAction,
    /// The delay.
    pub backoff: Backoff,
    /// The scope of the delay.
    pub scope: BackoffScope,
    /// The error code after the last attempt.
    pub code: ErrorCode,
}

const NO_BACKOFF: Backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
const SHORT_BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(5) };
const LONG_BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

impl FailureClass {
    /// The failure policy of this class. The match is exhaustive, so a new class needs a row.
    #[must_use]
    pub const fn policy(self) -> FailurePolicy {
        match self {
            Self::Overloaded => FailurePolicy {
                action: THREE_ATTEMPTS,
                backoff: LONG_BACKOFF,
                scope: BackoffScope::Provider,
                code: ErrorCode::ModelOverloaded,
            },
            Self::Unreachable | Self::ProviderFailed => FailurePolicy {
                action: THREE_ATTEMPTS,
                backoff: SHORT_BACKOFF,
                scope: BackoffScope::Execution,
                code: ErrorCode::ModelFailed,
            },
            Self::MalformedResponse => FailurePolicy {
                action: TWO_ATTEMPTS,
                backoff: SHORT_BACKOFF,
                scope: BackoffScope::Execution,
                code: ErrorCode::ModelFailed,
            },
            Self::ProviderTimeout => immediate(RetryAction::Fallback, ErrorCode::TimedOut),
            Self::Unauthorized => immediate(RetryAction::Fallback, ErrorCode::ModelUnauthorized),
            Self::Rejected => immediate(RetryAction::None, ErrorCode::ModelFailed),
            Self::ContextOverflow => immediate(RetryAction::None, ErrorCode::ContextOverflow),
            Self::Truncated => immediate(RetryAction::None, ErrorCode::OutputTruncated),
            Self::Refusal => immediate(RetryAction::None, ErrorCode::ModelRefused),
            Self::Unanswerable => immediate(RetryAction::Fallback, ErrorCode::OfflineCannotAnswer),
            Self::InvalidOutput => immediate(RetryAction::RepairOutput, ErrorCode::InvalidOutput),
            Self::Budget => immediate(RetryAction::None, ErrorCode::BudgetExceeded),
            Self::Policy => immediate(RetryAction::None, ErrorCode::PolicyDenied),
            Self::DeadlineExceeded => immediate(RetryAction::None, ErrorCode::TimedOut),
            Self::Crash => immediate(RetryAction::DefinitionRetry, ErrorCode::AgentCrashed),
        }
    }

    /// The class of a provider's error.
    #[must_use]
    pub const fn from_error(error: &ModelError) -> Self {
        match error {
            ModelError::Overloaded { .. } => Self::Overloaded,
            ModelError::Unreachable | ModelError::TimedOut { phase: CallPhase::Connect } => Self::Unreachable,
            ModelError::Unauthorized { .. } => Self::Unauthorized,
            ModelError::ContextOverflow { .. } => Self::ContextOverflow,
            ModelError::Rejected { .. } => Self::Rejected,
            ModelError::Failed { .. } => Self::ProviderFailed,
            ModelError::MalformedResponse { .. } => Self::MalformedResponse,
            ModelError::Unanswerable { .. } => Self::Unanswerable,
            ModelError::TimedOut { phase: CallPhase::FirstToken | CallPhase::Idle | CallPhase::Total } => {
                Self::ProviderTimeout
            }
        }
    }
}

const THREE_ATTEMPTS: RetryAction = RetryAction::SameModelThenFallback { attempts_max: MODEL_CALLS_MAX };
const TWO_ATTEMPTS: RetryAction = RetryAction::SameModelThenFallback { attempts_max: 2 };

const fn immediate(action: RetryAction, code: ErrorCode) -> FailurePolicy {
    FailurePolicy { action, backoff: NO_BACKOFF, scope: BackoffScope::None, code }
}

/// True if the model calls of an execution were retried for this code already, as far as its definition allows, so that
/// the execution is not repeated for it.
#[must_use]
pub const fn is_retried_by_calls(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::ModelOverloaded | ErrorCode::ModelFailed | ErrorCode::InvalidOutput | ErrorCode::TimedOut)
}

/// True if the provider did no work for the request, provided that it wrote nothing, so that it bills nothing: it
/// rejected the request, or no connection was made.
#[must_use]
pub const fn is_unbilled(error: &ModelError) -> bool {
    match error {
        ModelError::Overloaded { .. }
        | ModelError::Unreachable
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::Rejected { .. }
        | ModelError::Unanswerable { .. }
        | ModelError::TimedOut { phase: CallPhase::Connect } => true,
        ModelError::Failed { .. }
        | ModelError::MalformedResponse { .. }
        | ModelError::TimedOut { phase: CallPhase::FirstToken | CallPhase::Idle | CallPhase::Total } => false,
    }
}

/// The cause that a caller sees for a provider's error after the last attempt.
#[must_use]
pub fn cause_from_error(model: &str, error: &ModelError) -> Cause {
    let code = FailureClass::from_error(error).policy().code;
    let message = format!("{model}: {error}");
    let details = |more: serde_json::Value| {
        let mut all = json!({ "model": model });
        if let (Some(all), serde_json::Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        all
    };
    match error {
        ModelError::ContextOverflow { requested, limit } => {
            let over = requested.zip(*limit).map(|(requested, limit)| requested.saturating_sub(limit));
            let message = match (requested, limit, over) {
                (Some(requested), Some(limit), Some(over)) => {
                    format!("{model} reads {limit} tokens, the request has {requested}: {over} too many")
                }
                _ => message,
            };
            let details = details(json!({ "tokens_requested": requested, "tokens_max": limit, "tokens_over": over }));
            Cause::new(code, message).with_details(details)
        }
        ModelError::Overloaded { status, retry_after } => {
            let cause = Cause::new(code, message).with_details(details(json!({ "status": status })));
            // A provider may give no delay, or one that has passed.
            cause.with_retry_after(retry_after.unwrap_or_default().max(LONG_BACKOFF.first))
        }
        ModelError::Unauthorized { status } | ModelError::Rejected { status, .. } => {
            Cause::new(code, message).with_details(details(json!({ "status": status })))
        }
        ModelError::Failed { status, .. } => {
            Cause::new(code, message).with_details(details(json!({ "status": status })))
        }
        ModelError::Unanswerable { fields, .. } => {
            Cause::new(code, message).with_details(details(json!({ "fields": fields })))
        }
        ModelError::Unreachable | ModelError::MalformedResponse { .. } | ModelError::TimedOut { .. } => {
            Cause::new(code, message).with_details(details(json!({})))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_overflow_reports_the_number_of_excess_tokens() {
        let error = ModelError::ContextOverflow { requested: Some(210_000), limit: Some(200_000) };
        let cause = cause_from_error("x.y", &error);
        assert_eq!(cause.code, ErrorCode::ContextOverflow);
        assert_eq!(cause.details["tokens_over"], 10_000);
        assert!(cause.message.contains("10000 too many"), "{}", cause.message);
    }

    #[test]
    fn an_unreachable_provider_is_retried_and_then_the_fallback_is_called() {
        for error in [ModelError::Unreachable, ModelError::TimedOut { phase: CallPhase::Connect }] {
            assert_eq!(FailureClass::from_error(&error), FailureClass::Unreachable);
        }
        let FailurePolicy { action, scope, code, .. } = FailureClass::Unreachable.policy();
        assert_eq!((action, scope, code), (THREE_ATTEMPTS, BackoffScope::Execution, ErrorCode::ModelFailed));
    }

    #[test]
    fn an_overload_reports_its_retry_after() {
        let error = ModelError::Overloaded { status: 529, retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(cause_from_error("x.y", &error).retry_after_ms, Some(7_000));
        for retry_after in [None, Some(Duration::ZERO)] {
            let error = ModelError::Overloaded { status: 429, retry_after };
            assert_eq!(cause_from_error("x.y", &error).retry_after_ms, Some(500), "{retry_after:?}");
        }
        assert_eq!(FailureClass::from_error(&error).policy().scope, BackoffScope::Provider);
    }

    #[test]
    fn only_rejected_or_unsent_requests_are_unbilled() {
        assert!(is_unbilled(&ModelError::Overloaded { status: 429, retry_after: None }));
        assert!(is_unbilled(&ModelError::Unreachable));
        assert!(is_unbilled(&ModelError::TimedOut { phase: CallPhase::Connect }));
        assert!(!is_unbilled(&ModelError::TimedOut { phase: CallPhase::Idle }));
        assert!(!is_unbilled(&ModelError::Failed { status: Some(500), message: "x".into() }));
    }
}
