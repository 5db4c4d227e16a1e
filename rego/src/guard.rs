//! The guard: turns an access request into a permit, or into a denial with reasons.
//!
//! It is a struct and not a trait, because another crate could implement a trait so that it permits
//! everything. The variable part is the [`Evaluator`], which can only forward a decision of an engine.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::{Cause, ErrorCode, Request};
use serde_json::json;

use crate::access_request::{AccessRequest, Input};
use crate::engine::allowed::PolicyDecision;
use crate::engine::explain::Explanation;
use crate::instance::EvaluationError;
use crate::instance::explain::DenyReason;
use crate::permit::{Checks, Grant, GrantParts, Permitted};

/// The reason of a denial without a fact.
const FACT_UNAVAILABLE: &str = "fact_unavailable";

/// Sends an input to an engine and returns its decision. The actors implement it over the guard's
/// workers.
#[async_trait]
pub trait Evaluator: Send + Sync {
    /// Evaluates the hot decision.
    ///
    /// # Errors
    /// [`EvaluationError`]; the request is then denied.
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError>;

    /// Evaluates the same decision with its reasons.
    ///
    /// # Errors
    /// [`EvaluationError`]
    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError>;
}

/// Why a request is not permitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Denied {
    /// The policy denies it.
    #[error("policy denies this: {}", codes(reasons))]
    ByPolicy {
        /// The reasons of the policy.
        reasons: Vec<DenyReason>,
        /// The revision of the policy that decided.
        revision: Arc<str>,
    },
    /// The call chain is longer than the platform allows.
    #[error("the call chain has {hops} callers, at most {HOPS_MAX} are allowed")]
    TooManyHops {
        /// The number of callers in the chain.
        hops: usize,
    },
    /// A store failed on the way to a fact. The request is denied, since policy would otherwise decide on a
    /// fact that nobody has established.
    #[error("a fact could not be established: {cause}")]
    FactUnavailable {
        /// The error of the store.
        cause: Cause,
    },
    /// The policy could not be evaluated, and the guard fails closed.
    #[error("the policy could not be evaluated")]
    EvaluationFailed(#[from] EvaluationError),
}

fn codes(reasons: &[DenyReason]) -> String {
    reasons.iter().map(|reason| reason.code.as_str()).collect::<Vec<_>>().join(", ")
}

impl Denied {
    /// The codes of the reasons, for the audit.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        match self {
            Self::ByPolicy { reasons, .. } => reasons.iter().map(|reason| reason.code.clone()).collect(),
            Self::TooManyHops { .. } => vec![ErrorCode::TooManyHops.as_str().to_owned()],
            Self::FactUnavailable { .. } => vec![FACT_UNAVAILABLE.to_owned()],
            Self::EvaluationFailed(_) => vec![ErrorCode::PolicyError.as_str().to_owned()],
        }
    }

    /// The revision of the policy that denied; none if the policy was not evaluated, or its evaluation
    /// failed.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::ByPolicy { revision, .. } => Some(revision),
            Self::TooManyHops { .. } | Self::FactUnavailable { .. } | Self::EvaluationFailed(_) => None,
        }
    }
}

impl From<Denied> for Cause {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::ByPolicy { reasons, revision } => {
                let sentences: Vec<_> =
                    reasons.iter().map(|reason| format!("{} ({})", reason.message, reason.code)).collect();
                Self::new(ErrorCode::PolicyDenied, format!("policy denies this: {}", sentences.join("; ")))
                    .with_details(json!({ "reasons": reasons, "revision": &*revision }))
            }
            Denied::TooManyHops { hops } => Self::new(ErrorCode::TooManyHops, Denied::TooManyHops { hops }.to_string())
                .with_details(json!({ "hops": hops, "hops_max": HOPS_MAX })),
            Denied::FactUnavailable { cause } => {
                let message = format!(
                    "a fact that policy needs could not be established, so the request is denied: {} \
                     ({FACT_UNAVAILABLE})",
                    cause.message
                );
                let reason = DenyReason { code: FACT_UNAVAILABLE.to_owned(), message: cause.message };
                Self::new(ErrorCode::PolicyError, message).with_details(
                    json!({ "reasons": [reason], "cause": cause.code, "store": cause.details.get("store") }),
                )
            }
            Denied::EvaluationFailed(error) => error.into(),
        }
    }
}

/// Decides access requests and makes permits.
#[derive(Clone)]
pub struct Guard {
    evaluator: Arc<dyn Evaluator>,
}

impl Guard {
    /// Makes a guard that decides by this evaluator.
    #[must_use]
    pub fn new(evaluator: Arc<dyn Evaluator>) -> Self {
        Self { evaluator }
    }

    /// Makes a permit if policy allows the request. The reasons are evaluated only after a denial.
    ///
    /// # Errors
    /// [`Denied`]: by policy, or because the facts do not match the request, or because the policy could
    /// not be evaluated.
    pub async fn permit(&self, request: AccessRequest) -> Result<Permitted<Request>, Denied> {
        let AccessRequest { request, resource, inherited, callee, resource_matches, input } = request;
        let hops = request.chain.len();
        if hops > HOPS_MAX {
            return Err(Denied::TooManyHops { hops });
        }
        if !resource_matches {
            return Err(EvaluationError::ResourceMismatch.into());
        }
        let decision = self.evaluator.decide(Arc::clone(&input)).await?;
        let Some(details) = decision.open_for(&input)? else {
            return Err(self.explain_denial(input).await);
        };
        let checks = Checks::new(details.checks, &inherited.policies);
        let grant = Grant::new(GrantParts {
            meta: request.meta,
            resolved: request.resolved,
            chain: request.chain,
            callee,
            inherited,
            resource,
            checks,
            obligations: details.obligations,
            revision: details.revision,
        });
        Ok(Permitted::new(grant, request.request))
    }

    /// Explains the decision without making a permit.
    ///
    /// # Errors
    /// [`EvaluationError`]
    pub async fn explain(&self, request: &AccessRequest) -> Result<Explanation, EvaluationError> {
        self.evaluator.explain(Arc::clone(&request.input)).await
    }

    /// Explains the decision on a policy input that the caller read from JSON.
    ///
    /// # Errors
    /// [`EvaluationError`]
    pub async fn explain_input(&self, input: Input) -> Result<Explanation, EvaluationError> {
        self.evaluator.explain(Arc::new(input)).await
    }

    async fn explain_denial(&self, input: Arc<Input>) -> Denied {
        match self.evaluator.explain(input).await {
            // If the active policy was replaced between the two evaluations, the new one may allow the
            // request; the denial stands.
            Ok(explanation) if explanation.deny.is_empty() => Denied::ByPolicy {
                reasons: vec![DenyReason {
                    code: "policy_changed".into(),
                    message: "the policy was changed just now".into(),
                }],
                revision: explanation.revision,
            },
            Ok(explanation) => Denied::ByPolicy { reasons: explanation.deny, revision: explanation.revision },
            Err(error) => Denied::EvaluationFailed(error),
        }
    }
}
