//! The hot decision: allow with its obligations, or deny without a reason.

use std::sync::Arc;

use super::Engine;
use crate::access_request::Input;
use crate::access_request::input::InputIdentity;
use crate::instance::allowed::{Allow, ENTRYPOINT, Obligations};
use crate::instance::result_set::ResultSet;
use crate::instance::{EvaluationError, FUEL_MAX};

/// The checks, obligations and policy revision of an allow.
#[derive(Debug)]
pub(crate) struct AllowDetails {
    pub(crate) checks: Arc<[Arc<str>]>,
    pub(crate) obligations: Obligations,
    pub(crate) revision: Arc<str>,
}

/// The decision on one input, and on no other. Only an engine makes it, and it cannot be cloned.
#[must_use]
#[derive(Debug)]
pub struct PolicyDecision {
    identity: InputIdentity,
    details: Option<AllowDetails>,
}

impl PolicyDecision {
    pub(crate) fn new(input: &Input, details: Option<AllowDetails>) -> Self {
        Self { identity: input.identity.clone(), details }
    }

    /// True if policy allows the request.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.details.is_some()
    }

    /// Returns the details, provided that the decision was made from this input.
    pub(crate) fn open_for(self, input: &Input) -> Result<Option<AllowDetails>, EvaluationError> {
        if self.identity.is_same(&input.identity) { Ok(self.details) } else { Err(EvaluationError::DecisionMismatch) }
    }
}

impl Engine {
    /// Decides whether policy allows the request that the input describes.
    ///
    /// # Errors
    /// [`EvaluationError`] if the evaluation fails or its result cannot be decoded; the instance is
    /// replaced.
    pub async fn decide(&mut self, input: &Input) -> Result<PolicyDecision, EvaluationError> {
        let snapshot = Arc::clone(self.snapshot());
        let pruned = input.pruned(snapshot.read_set());
        let result: ResultSet<Allow> = self.evaluate(ENTRYPOINT, &pruned, FUEL_MAX).await?;
        let details = result.0.filter(|result| result.allow).map(|result| AllowDetails {
            checks: snapshot.checks(input.action),
            obligations: result.obligations,
            revision: Arc::clone(snapshot.revision()),
        });
        Ok(PolicyDecision::new(input, details))
    }
}
