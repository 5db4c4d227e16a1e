//! The guard: from a question to a permit, or to a denial that says why.
//!
//! It is a struct and not a trait, because a trait could be implemented by somebody who permits
//! everything. What varies is the [`Evaluator`], which can only carry a verdict from an engine.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol::limits::HOPS_MAX;
use greenroom_protocol::{Cause, ErrorCode, Request};
use serde_json::json;

use crate::access_request::{AccessRequest, Input};
use crate::engine::EvaluationError;
use crate::engine::allowed::PolicyDecision;
use crate::engine::explain::{DenyReason, Explanation};
use crate::permit::{Checks, Grant, Granted, Permitted};

/// Carries an input to an engine, and its verdict back. Implemented over the guard's shards.
#[async_trait]
pub trait Evaluator: Send + Sync {
    /// The hot decision.
    ///
    /// # Errors
    /// [`Fault`]; the request is then denied.
    async fn allowed(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError>;

    /// The same decision with its reasons.
    ///
    /// # Errors
    /// [`Fault`]
    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError>;
}

/// Why a request is not permitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Denied {
    /// Rules of the policy say no.
    #[error("policy denies this: {}", codes(reasons))]
    ByPolicy {
        /// Which rules, and what they say.
        reasons: Vec<DenyReason>,
        /// The revision of the policy that decided.
        revision: Arc<str>,
    },
    /// The chain of calls is longer than the platform allows.
    #[error("the chain of calls has {hops} speakers, at most {HOPS_MAX} are allowed")]
    TooManyHops {
        /// Speakers in the chain.
        hops: usize,
    },
    /// The policy could not be evaluated, so the answer is no.
    #[error("the policy could not be evaluated")]
    EvaluationFailed(#[from] EvaluationError),
}

fn codes(rules: &[DenyReason]) -> String {
    rules.iter().map(|rule| rule.code.as_str()).collect::<Vec<_>>().join(", ")
}

impl Denied {
    /// The codes of the rules that denied, for the audit.
    #[must_use]
    pub fn codes(&self) -> Vec<String> {
        match self {
            Self::ByPolicy { reasons: rules, .. } => rules.iter().map(|rule| rule.code.clone()).collect(),
            Self::TooManyHops { .. } => vec![ErrorCode::TooManyHops.as_str().to_owned()],
            Self::EvaluationFailed(_) => vec![ErrorCode::PolicyError.as_str().to_owned()],
        }
    }

    /// The revision of the policy that denied; none if it was not asked, or gave no answer.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::ByPolicy { revision, .. } => Some(revision),
            Self::TooManyHops { .. } | Self::EvaluationFailed(_) => None,
        }
    }
}

impl From<Denied> for Cause {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::ByPolicy { reasons: rules, revision } => {
                let reasons: Vec<_> = rules.iter().map(|rule| format!("{} ({})", rule.message, rule.code)).collect();
                Self::new(ErrorCode::PolicyDenied, format!("policy denies this: {}", reasons.join("; ")))
                    .with_details(json!({ "reasons": rules, "revision": &*revision }))
            }
            Denied::TooManyHops { hops } => Self::new(ErrorCode::TooManyHops, Denied::TooManyHops { hops }.to_string())
                .with_details(json!({ "hops": hops, "hops_max": HOPS_MAX })),
            Denied::EvaluationFailed(fault) => fault.into(),
        }
    }
}

/// Answers questions with permits.
#[derive(Clone)]
pub struct Guard {
    evaluator: Arc<dyn Evaluator>,
}

impl Guard {
    /// A guard that has its questions evaluated there.
    #[must_use]
    pub fn new(evaluator: Arc<dyn Evaluator>) -> Self {
        Self { evaluator }
    }

    /// Permits what policy allows. Reasons are asked for only after a no.
    ///
    /// # Errors
    /// [`Denied`]: by policy, or because the question does not fit together, or because the policy
    /// could not be evaluated.
    pub async fn permit(&self, request: AccessRequest) -> Result<Permitted<Request>, Denied> {
        let AccessRequest { request: asked, resource: target, policies, callee, resource_matches: fits, input } =
            request;
        let hops = asked.chain.len();
        if hops > HOPS_MAX {
            return Err(Denied::TooManyHops { hops });
        }
        if !fits {
            return Err(EvaluationError::ResourceMismatch.into());
        }
        let verdict = self.evaluator.allowed(Arc::clone(&input)).await?;
        let Some(grounds) = verdict.open_for(&input)? else {
            return Err(self.reasons(input).await);
        };
        let checks = Checks { action_checks: grounds.checks, definition_policies: policies };
        let grant = Grant::new(Granted {
            meta: asked.meta,
            resolved: asked.resolved,
            chain: asked.chain,
            callee,
            resource: target,
            checks,
            obligations: grounds.obligations,
            revision: grounds.revision,
        });
        Ok(Permitted::new(grant, asked.request))
    }

    /// Explains the decision without making a permit.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn explain(&self, request: &AccessRequest) -> Result<Explanation, EvaluationError> {
        self.evaluator.explain(Arc::clone(&request.input)).await
    }

    /// Explains the decision on a document that was written by hand.
    ///
    /// # Errors
    /// [`Fault`]
    pub async fn explain_input(&self, input: Input) -> Result<Explanation, EvaluationError> {
        self.evaluator.explain(Arc::new(input)).await
    }

    async fn reasons(&self, input: Arc<Input>) -> Denied {
        match self.evaluator.explain(input).await {
            // A swap between the two evaluations may leave nothing to deny; the answer stays no.
            Ok(explanation) if explanation.deny.is_empty() => Denied::ByPolicy {
                reasons: vec![DenyReason {
                    code: "policy_changed".into(),
                    message: "the policy was changed just now".into(),
                }],
                revision: explanation.revision,
            },
            Ok(explanation) => Denied::ByPolicy { reasons: explanation.deny, revision: explanation.revision },
            Err(fault) => Denied::EvaluationFailed(fault),
        }
    }
}
