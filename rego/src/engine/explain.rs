//! The same decision with its reasons: for denials, `greenroom policy eval` and the access matrix.

use std::sync::Arc;

use serde::Serialize;

use super::Engine;
use crate::access_request::Input;
use crate::instance::allowed::Obligations;
use crate::instance::explain::{Check, DenyReason, ENTRYPOINT, RawExplanation};
use crate::instance::result_set::ResultSet;
use crate::instance::{EXPLAIN_FUEL_MAX, EvaluationError};

/// A policy decision with its reasons and checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// True if policy allows the request.
    pub allow: bool,
    /// The reasons of the denial, in the order of their codes.
    pub deny: Vec<DenyReason>,
    /// The checks of the action.
    pub checks: Vec<Check>,
    /// The obligations of an allow.
    pub obligations: Obligations,
    /// The revision of the policy that decided.
    pub revision: Arc<str>,
}

impl Engine {
    /// Returns the decision and its reasons.
    ///
    /// # Errors
    /// [`EvaluationError`] as for the hot decision; also if an allow comes with a reason, or a denial
    /// without one.
    pub async fn explain(&mut self, input: &Input) -> Result<Explanation, EvaluationError> {
        let revision = Arc::clone(self.snapshot().revision());
        // The input is not pruned: an explanation is not urgent, and a reason may name a field that no
        // rule reads.
        let result: ResultSet<RawExplanation> = self.evaluate(ENTRYPOINT, input, EXPLAIN_FUEL_MAX).await?;
        let RawExplanation { allow, deny, checks, obligations } = result.into_consistent()?;
        Ok(Explanation { allow, deny, checks, obligations, revision })
    }
}
