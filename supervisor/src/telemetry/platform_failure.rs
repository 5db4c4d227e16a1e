//! Which causes are failures of the platform and of what it depends on, and not of the request. The metric
//! `error_rate` counts the former: a mistyped name is no reason to wake an operator.

use greenroom_protocol::error::ErrorClass;
use greenroom_protocol::{Cause, ErrorCode};

/// The failures whose reason is the request, its data, its definitions or the decision of a person. Any other
/// failure is one of the platform, new codes included, until this list has them.
const FAILURES_OF_REQUESTS: [ErrorCode; 11] = [
    ErrorCode::Cancelled,
    ErrorCode::ApprovalRejected,
    ErrorCode::HandlerFailed,
    ErrorCode::InvalidData,
    ErrorCode::NoDataForPeriod,
    ErrorCode::ExpressionFailed,
    ErrorCode::ModelRefused,
    ErrorCode::ContextOverflow,
    ErrorCode::BudgetExceeded,
    ErrorCode::PriceUnknown,
    ErrorCode::VersionConflict,
];

/// True if the platform, or a service that it depends on, failed to serve a request that may have been right.
pub(super) fn is_platform_failure(cause: &Cause) -> bool {
    match cause.code.class() {
        ErrorClass::Rejected => false,
        // A request is denied too if the policy cannot be evaluated.
        ErrorClass::Denied => cause.code == ErrorCode::PolicyError,
        ErrorClass::Failed => match (cause.code, inner_cause(cause)) {
            // A step fails for the cause that it has.
            (ErrorCode::StepFailed, Some(inner)) => is_platform_failure(&inner),
            (code, _) => !FAILURES_OF_REQUESTS.contains(&code),
        },
    }
}

fn inner_cause(cause: &Cause) -> Option<Cause> {
    serde_json::from_value(cause.details.get("cause")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_the_user_is_no_failure_of_the_platform_at_any_depth() {
        let step = |inner: &Cause| {
            Cause::new(ErrorCode::StepFailed, "a step failed").with_details(serde_json::json!({ "cause": inner }))
        };
        for code in [ErrorCode::UnknownAgent, ErrorCode::PolicyDenied, ErrorCode::InvalidData, ErrorCode::Cancelled] {
            let cause = Cause::new(code, "for the test");
            assert!(!is_platform_failure(&cause) && !is_platform_failure(&step(&step(&cause))), "{code}");
        }
        for code in [ErrorCode::ModelFailed, ErrorCode::StoreUnavailable, ErrorCode::Overloaded, ErrorCode::Internal] {
            let cause = Cause::new(code, "for the test");
            assert!(is_platform_failure(&cause) && is_platform_failure(&step(&step(&cause))), "{code}");
        }
        assert!(is_platform_failure(&Cause::new(ErrorCode::StepFailed, "without a cause")));
    }
}
