//! The closed list of error codes, with the meaning of each one to a caller.
//!
//! A code is for programs, its message for people. Each code has a page, `docs/errors/<code>.md`,
//! and a test fails where one is missing. The exit code and the HTTP status of a code are decided
//! here once: only a denial by policy is 403, and a resource that does not exist is 404 for every
//! caller, since the catalogue is not a secret.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::Json;

/// The class of an error, which determines the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The work failed, was cancelled or timed out: exit code 1.
    Failed,
    /// The request was invalid and had no effect: exit code 2.
    Rejected,
    /// Policy denied the request, or the caller is not authenticated: exit code 3.
    Denied,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $class:ident, $http:literal, retry $retry:literal;)*) => {
        /// The code of an error. The list is closed: a new code is a new version of the protocol. A code of a later
        /// release is read as [`ErrorCode::Unknown`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
            /// A code of a later release, which no pod of this release writes by itself.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl ErrorCode {
            /// Every code of this release, in the order of this file.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code as it is written in replies, logs and page names.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* ErrorCode::Unknown => "unknown" }
            }

            /// What this code means, in one sentence or two.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => concat!($($doc,)*).trim_ascii(),)*
                    ErrorCode::Unknown => "A code of a later release.",
                }
            }

            /// The class of this code.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self { $(ErrorCode::$name => ErrorClass::$class,)* ErrorCode::Unknown => ErrorClass::Failed }
            }

            /// The HTTP status of a problem with this code.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(ErrorCode::$name => $http,)* ErrorCode::Unknown => 500 }
            }

            /// True if the same request may succeed later, unchanged.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retry,)* ErrorCode::Unknown => false }
            }
        }
    };
}

codes! {
    // Rejected: nothing has happened.
    /// The request cannot be read: its shape, its version or its size is wrong.
    InvalidRequest = "invalid_request", Rejected, 400, retry false;
    /// An input has the wrong type or violates a constraint of the definition.
    InvalidInput = "invalid_input", Rejected, 422, retry false;
    /// A required input has no value, and no default provides one.
    MissingInput = "missing_input", Rejected, 422, retry false;
    /// A definition file is invalid.
    InvalidDefinition = "invalid_definition", Rejected, 422, retry false;
    /// A setting is invalid.
    InvalidConfiguration = "invalid_configuration", Rejected, 500, retry false;
    /// Several pods share the database, and this one stores artifacts where the others cannot read them.
    ArtifactsNotShared = "artifacts_not_shared", Rejected, 500, retry false;
    /// Another pod of the cluster uses another database, so this one refuses to serve.
    SharedStoreNeeded = "shared_store_needed", Rejected, 500, retry false;
    /// A policy bundle is invalid; the active policy is unchanged.
    InvalidPolicy = "invalid_policy", Rejected, 422, retry false;
    /// No agent has this id.
    UnknownAgent = "unknown_agent", Rejected, 404, retry false;
    /// No workflow has this id.
    UnknownWorkflow = "unknown_workflow", Rejected, 404, retry false;
    /// No team has this id.
    UnknownTeam = "unknown_team", Rejected, 404, retry false;
    /// No run has this id.
    UnknownRun = "unknown_run", Rejected, 404, retry false;
    /// The run has no such step, or the step does not await approval.
    UnknownStep = "unknown_step", Rejected, 404, retry false;
    /// No tool has this name, or this agent does not have it.
    UnknownTool = "unknown_tool", Rejected, 404, retry false;
    /// No provider of this process has this model.
    UnknownModel = "unknown_model", Rejected, 404, retry false;
    /// No audit entry, artifact or other record has this id.
    UnknownRecord = "unknown_record", Rejected, 404, retry false;
    /// The request or a value in it exceeds a size limit.
    PayloadTooLarge = "payload_too_large", Rejected, 413, retry false;
    /// A path is outside the directories that handlers may read, or cannot be read.
    PathNotAllowed = "path_not_allowed", Rejected, 403, retry false;
    /// The idempotency key was already used with another request body.
    IdempotencyConflict = "idempotency_conflict", Rejected, 409, retry false;
    /// The run has no report: it has not ended, it has failed, or its outputs have no facts.
    NoReport = "no_report", Rejected, 409, retry false;
    /// A tool of the agent needs an approval, and its caller cannot wait for a person: call the agent as a step of a
    /// workflow.
    ApprovalRequired = "approval_required", Rejected, 409, retry false;
    /// The run has ended, or has a status that does not accept this signal.
    RunNotActive = "run_not_active", Rejected, 409, retry false;

    // Denied: policy, or the lack of an identity.
    /// The caller could not be authenticated.
    Unauthenticated = "unauthenticated", Denied, 401, retry false;
    /// A policy denied the request; `details.reasons` has the reasons.
    PolicyDenied = "policy_denied", Denied, 403, retry false;
    /// The policy could not be evaluated, so the request is denied.
    PolicyError = "policy_error", Denied, 503, retry true;
    /// The call chain is longer than the platform allows.
    TooManyHops = "too_many_hops", Denied, 403, retry false;

    // Failed: bounds and capacity.
    /// The pod, the tenant or the agent is at its limit of work in flight; retry after the given delay.
    Overloaded = "overloaded", Failed, 429, retry true;
    /// No pod that is alive has the labels that the agent needs.
    NoPodForLabels = "no_pod_for_labels", Failed, 503, retry true;
    /// The run needs a version of journals that not every pod of the cluster reads, or that is not finalized yet.
    NotFinalized = "not_finalized", Failed, 503, retry true;
    /// The pod is shutting down and accepts no new requests.
    ShuttingDown = "shutting_down", Failed, 503, retry true;
    /// The deadline passed before the work was finished.
    TimedOut = "timed_out", Failed, 504, retry true;
    /// A user cancelled it, or its caller disconnected.
    Cancelled = "cancelled", Failed, 409, retry false;
    /// The process ended before the work was finished.
    Interrupted = "interrupted", Failed, 503, retry true;

    // Failed: the work itself.
    /// A step of the run failed; `details.step` names it, `details.cause` has the cause.
    StepFailed = "step_failed", Failed, 500, retry false;
    /// A person rejected a step that awaited approval.
    ApprovalRejected = "approval_rejected", Failed, 409, retry false;
    /// The agent's code panicked, or its actor died.
    AgentCrashed = "agent_crashed", Failed, 500, retry true;
    /// The agent exceeded its restart limit; new calls fail until its cooldown ends.
    AgentCircuitOpen = "agent_circuit_open", Failed, 503, retry true;
    /// A handler, a component, a service or a tool has failed, or has rejected its inputs.
    HandlerFailed = "handler_failed", Failed, 500, retry false;
    /// An external service could not be reached, failed, or its response cannot be read.
    ServiceFailed = "service_failed", Failed, 502, retry true;
    /// The address of an external service is not one that requests are sent to; nothing was sent, or a redirect was not followed.
    AddressNotAllowed = "address_not_allowed", Failed, 502, retry false;
    /// The definition names a runtime that this pod does not have.
    RuntimeUnavailable = "runtime_unavailable", Failed, 501, retry false;
    /// The data does not have the declared format; `details` names the line.
    InvalidData = "invalid_data", Failed, 422, retry false;
    /// The data has no row in the requested period; `details` has the range of the data.
    NoDataForPeriod = "no_data_for_period", Failed, 422, retry false;
    /// The output of the agent does not match the outputs that its definition declares.
    InvalidOutput = "invalid_output", Failed, 502, retry true;
    /// A template or an expression could not be evaluated within its bounds.
    ExpressionFailed = "expression_failed", Failed, 422, retry false;
    /// The model called tools in more turns than `limits.max_turns` allows.
    TooManyTurns = "too_many_turns", Failed, 500, retry false;

    // Failed: models.
    /// The provider has no capacity at present.
    ModelOverloaded = "model_overloaded", Failed, 503, retry true;
    /// The provider failed, or its response cannot be read.
    ModelFailed = "model_failed", Failed, 502, retry true;
    /// The model declined the request.
    ModelRefused = "model_refused", Failed, 422, retry false;
    /// The request does not fit into the model's context; `details` has both sizes.
    ContextOverflow = "context_overflow", Failed, 422, retry false;
    /// The answer was cut off at `max_tokens`.
    OutputTruncated = "output_truncated", Failed, 502, retry false;
    /// The provider rejected the API key.
    ModelUnauthorized = "model_unauthorized", Failed, 502, retry false;
    /// No language model is configured, and the inputs do not state what the agent has to answer.
    OfflineCannotAnswer = "offline_cannot_answer", Failed, 422, retry false;

    // Failed: money.
    /// The worst case of the call would exceed a budget; nothing was sent.
    BudgetExceeded = "budget_exceeded", Failed, 402, retry false;
    /// A budget applies, and the model has no price; nothing was sent.
    PriceUnknown = "price_unknown", Failed, 422, retry false;

    // Failed: stores.
    /// The audit cannot be written, so nothing may be executed.
    AuditUnavailable = "audit_unavailable", Failed, 503, retry true;
    /// A store cannot be read or written.
    StoreUnavailable = "store_unavailable", Failed, 503, retry true;
    /// The store did not reply in time: the request may have been executed. Repeat it with the same idempotency key.
    OutcomeUnknown = "outcome_unknown", Failed, 503, retry true;
    /// The pod does not own this run or team any more, or has lost its own lease; it must not write.
    LeaseLost = "lease_lost", Failed, 409, retry true;
    /// The version of the key differs from the expected one.
    VersionConflict = "version_conflict", Failed, 409, retry true;
    /// Another process owns the data directory.
    DataDirectoryInUse = "data_directory_in_use", Failed, 503, retry false;
    /// An invariant of the platform was violated; details are in the log.
    Internal = "internal", Failed, 500, retry false;
}

impl ErrorCode {
    /// True if the request was executed and the failure does not pass: an idempotency key keeps the reply. A request
    /// that was rejected executed nothing, and a retryable failure may pass: a repetition is executed.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self.class() {
            ErrorClass::Rejected => false,
            ErrorClass::Denied | ErrorClass::Failed => !self.is_retryable(),
        }
    }

    /// The exit code of a command that ends with this code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self.class() {
            ErrorClass::Failed => 1,
            ErrorClass::Rejected => 2,
            ErrorClass::Denied => 3,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of an error: a code for programs, a message for people, and details for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Cause {
    /// The error code.
    pub code: ErrorCode,
    /// A sentence without secrets: what is wrong, where, and how to fix it.
    pub message: String,
    /// Named details, such as the reason, the step, the line or the range. An object, or null.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub details: Json,
    /// The delay in milliseconds after which a retry may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Cause {
    /// Creates a cause without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Json::Null, retry_after_ms: None }
    }

    /// Sets the named details; `details` is an object.
    #[must_use]
    pub fn with_details(mut self, details: Json) -> Self {
        self.details = details;
        self
    }

    /// Sets the delay before a retry.
    #[must_use]
    pub fn with_retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_failure_is_final_only_if_something_was_executed_and_it_does_not_pass() {
        for code in [ErrorCode::HandlerFailed, ErrorCode::BudgetExceeded, ErrorCode::Cancelled, ErrorCode::StepFailed] {
            assert!(code.is_final(), "{code}");
        }
        for code in [ErrorCode::MissingInput, ErrorCode::ModelOverloaded, ErrorCode::TimedOut, ErrorCode::AgentCrashed]
        {
            assert!(!code.is_final(), "{code}");
        }
    }

    #[test]
    fn a_code_is_written_once_and_read_back() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap_or_default();
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).ok(), Some(*code));
        }
    }

    #[test]
    fn a_code_of_a_later_release_is_read_as_unknown_and_not_repeated() {
        for text in ["\"of_a_later_release\"", "\"unknown\""] {
            let code = serde_json::from_str::<ErrorCode>(text).unwrap();
            assert_eq!(code, ErrorCode::Unknown, "{text}");
            // What is not known to pass is not executed again.
            assert!(!code.is_retryable() && code.is_final());
            assert_eq!((code.exit_code(), code.http_status()), (1, 500));
        }
        assert!(!ErrorCode::ALL.contains(&ErrorCode::Unknown));
    }
}
