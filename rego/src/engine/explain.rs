//! The same decision with its reasons: for denials, `greenroom policy eval` and the policy table.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::allowed::{Obligations, ResultSet};
use super::{EXPLAIN_FUEL_MAX, Engine, EvaluationError};
use crate::access_request::Input;

/// The entrypoint.
pub const ENTRYPOINT: &str = "guard/decision";

/// A rule that denies: a stable code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyReason {
    /// The code, such as `category_not_allowed` or `max_document_size_10mb`.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// One check, and whether it is proven.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The check's name, such as `access_allowed`.
    pub id: String,
    /// True if it is proven.
    pub pass: bool,
}

/// A decision and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// True if policy allows it.
    pub allow: bool,
    /// The rules that deny, in the order of their codes.
    pub deny: Vec<DenyReason>,
    /// The checks of this action.
    pub checks: Vec<Check>,
    /// What has to be kept to.
    pub obligations: Obligations,
    /// The revision of the policy that decided.
    pub revision: Arc<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExplanation {
    allow: bool,
    deny: Vec<DenyReason>,
    checks: Vec<Check>,
    obligations: Obligations,
}

impl Engine {
    /// Asks for the decision and its reasons.
    ///
    /// # Errors
    /// [`Fault`] as for the hot decision; also where an allow comes with a rule that denies, or a
    /// denial with none.
    pub async fn explain(&mut self, input: &Input) -> Result<Explanation, EvaluationError> {
        let snapshot = Arc::clone(self.snapshot());
        // All of it: who wants reasons is not in a hurry, and a reason may name what no rule reads.
        let answer: ResultSet<RawExplanation> = self.evaluate(ENTRYPOINT, input, EXPLAIN_FUEL_MAX).await?;
        let Some(RawExplanation { allow, mut deny, checks, obligations }) = answer.0 else {
            return Err(EvaluationError::Failed("the policy explains nothing".into()));
        };
        if allow != deny.is_empty() {
            return Err(EvaluationError::Failed("the policy contradicts itself".into()));
        }
        deny.sort();
        Ok(Explanation { allow, deny, checks, obligations, revision: Arc::clone(snapshot.revision()) })
    }
}
