//! What a failure means: one table from its class to what is tried next, and one budget of retries
//! for everything that a run does.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use crate::model::{CallPhase, ModelError};
use crate::supervision::Backoff;

mod provider_backoff;
mod retry_budget;

pub use provider_backoff::ProviderBackoff;
pub use retry_budget::{RETRIES_DEFAULT, RetryBudget, RetryBudgets};

/// Repairs of an answer that does not fit its definition.
pub const REPAIRS_MAX: u32 = 2;

/// The kinds of failure that are treated differently.
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
    /// The provider was silent for too long.
    ProviderTimeout,
    /// The provider does not accept the key.
    Unauthorized,
    /// The provider says that the request is wrong.
    Rejected,
    /// The request does not fit into the model's context.
    ContextOverflow,
    /// The answer was cut.
    Truncated,
    /// The model declines.
    Refusal,
    /// The answer does not have the declared outputs.
    InvalidOutput,
    /// A budget does not allow the call.
    Budget,
    /// Policy does not allow it.
    Policy,
    /// The deadline or the definition's timeout passed.
    DeadlineExceeded,
    /// The agent's code panicked or its actor died.
    Crash,
}

/// What is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAction {
    /// Nothing.
    None,
    /// The same model, this often in all, then the next of its chain.
    SameModelThenFallback {
        /// Attempts at one model, the first one included.
        attempts_max: u32,
    },
    /// The next model of the chain.
    Fallback,
    /// The same model, told what was wrong, at most [`REPAIRS_MAX`] times.
    RepairOutput,
    /// What the definition's `retry` says.
    DefinitionRetry,
}

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackoffScope {
    /// Every execution that asks this provider.
    Provider,
    /// This execution.
    Execution,
    /// Nobody.
    None,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePolicy {
    /// What is tried next.
    pub action: RetryAction,
    /// After how long.
    pub backoff: Backoff,
    /// Whose clock waits.
    pub scope: BackoffScope,
    /// What the caller sees if nothing helps.
    pub code: ErrorCode,
}

const NONE: Backoff = Backoff { first: Duration::ZERO, max: Duration::ZERO };
const SHORT_BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(5) };
const LONG_BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(30) };

impl FailureClass {
    /// The row of this class. A new class cannot be added without one.
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
            Self::ProviderTimeout => at_once(RetryAction::Fallback, ErrorCode::TimedOut),
            Self::Unauthorized => at_once(RetryAction::Fallback, ErrorCode::ModelUnauthorized),
            Self::Rejected => at_once(RetryAction::None, ErrorCode::ModelFailed),
            Self::ContextOverflow => at_once(RetryAction::None, ErrorCode::ContextOverflow),
            Self::Truncated => at_once(RetryAction::None, ErrorCode::OutputTruncated),
            Self::Refusal => at_once(RetryAction::None, ErrorCode::ModelRefused),
            Self::InvalidOutput => at_once(RetryAction::RepairOutput, ErrorCode::InvalidOutput),
            Self::Budget => at_once(RetryAction::None, ErrorCode::BudgetExceeded),
            Self::Policy => at_once(RetryAction::None, ErrorCode::PolicyDenied),
            Self::DeadlineExceeded => at_once(RetryAction::None, ErrorCode::TimedOut),
            Self::Crash => at_once(RetryAction::DefinitionRetry, ErrorCode::AgentCrashed),
        }
    }

    /// The class of a provider's error.
    #[must_use]
    pub const fn of(error: &ModelError) -> Self {
        match error {
            ModelError::Overloaded { .. } => Self::Overloaded,
            ModelError::Unreachable | ModelError::TimedOut { phase: CallPhase::Connect } => Self::Unreachable,
            ModelError::Unauthorized { .. } => Self::Unauthorized,
            ModelError::ContextOverflow { .. } => Self::ContextOverflow,
            ModelError::Rejected { .. } => Self::Rejected,
            ModelError::Failed { .. } => Self::ProviderFailed,
            ModelError::MalformedResponse { .. } => Self::MalformedResponse,
            ModelError::TimedOut { phase: CallPhase::FirstToken | CallPhase::Idle | CallPhase::Total } => {
                Self::ProviderTimeout
            }
        }
    }
}

const THREE_ATTEMPTS: RetryAction = RetryAction::SameModelThenFallback { attempts_max: 3 };
const TWO_ATTEMPTS: RetryAction = RetryAction::SameModelThenFallback { attempts_max: 2 };

const fn at_once(again: RetryAction, code: ErrorCode) -> FailurePolicy {
    FailurePolicy { action: again, backoff: NONE, scope: BackoffScope::None, code }
}

/// True if a request that ended so was certainly not worked on, so that nobody is billed for it: the
/// provider turned it away with a status of its own, or was never reached.
#[must_use]
pub const fn is_unbilled(error: &ModelError) -> bool {
    match error {
        ModelError::Overloaded { .. }
        | ModelError::Unreachable
        | ModelError::Unauthorized { .. }
        | ModelError::ContextOverflow { .. }
        | ModelError::Rejected { .. }
        | ModelError::TimedOut { phase: CallPhase::Connect } => true,
        ModelError::Failed { .. }
        | ModelError::MalformedResponse { .. }
        | ModelError::TimedOut { phase: CallPhase::FirstToken | CallPhase::Idle | CallPhase::Total } => false,
    }
}

/// What a caller sees of a provider's error, once nothing has helped.
#[must_use]
pub fn cause_of(model: &str, error: &ModelError) -> Cause {
    let code = FailureClass::of(error).policy().code;
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
            cause.with_retry_after(retry_after.unwrap_or(LONG_BACKOFF.first))
        }
        ModelError::Unauthorized { status } | ModelError::Rejected { status, .. } => {
            Cause::new(code, message).with_details(details(json!({ "status": status })))
        }
        ModelError::Failed { status, .. } => {
            Cause::new(code, message).with_details(details(json!({ "status": status })))
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
    fn an_overflow_says_by_how_much() {
        let error = ModelError::ContextOverflow { requested: Some(210_000), limit: Some(200_000) };
        let cause = cause_of("x.y", &error);
        assert_eq!(cause.code, ErrorCode::ContextOverflow);
        assert_eq!(cause.details["tokens_over"], 10_000);
        assert!(cause.message.contains("10000 too many"), "{}", cause.message);
    }

    #[test]
    fn who_cannot_be_reached_is_tried_again_and_then_the_next() {
        for error in [ModelError::Unreachable, ModelError::TimedOut { phase: CallPhase::Connect }] {
            assert_eq!(FailureClass::of(&error), FailureClass::Unreachable);
        }
        let FailurePolicy { action: again, scope: whose, code, .. } = FailureClass::Unreachable.policy();
        assert_eq!((again, whose, code), (THREE_ATTEMPTS, BackoffScope::Execution, ErrorCode::ModelFailed));
    }

    #[test]
    fn an_overload_says_when_to_come_back() {
        let error = ModelError::Overloaded { status: 529, retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(cause_of("x.y", &error).retry_after_ms, Some(7_000));
        assert_eq!(FailureClass::of(&error).policy().scope, BackoffScope::Provider);
    }

    #[test]
    fn only_what_was_turned_away_costs_nothing() {
        assert!(is_unbilled(&ModelError::Overloaded { status: 429, retry_after: None }));
        assert!(is_unbilled(&ModelError::Unreachable));
        assert!(is_unbilled(&ModelError::TimedOut { phase: CallPhase::Connect }));
        assert!(!is_unbilled(&ModelError::TimedOut { phase: CallPhase::Idle }));
        assert!(!is_unbilled(&ModelError::Failed { status: Some(500), message: "x".into() }));
    }
}
