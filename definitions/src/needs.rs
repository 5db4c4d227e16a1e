//! What a step needs of the steps to which it refers.
//!
//! A step that was skipped has no outputs, and what refers to it is absent ([`crate::expr`]). A step is skipped with it
//! only if it *needs* what is absent: its list, the text of its approval, or a required input that no default and no
//! input of the run provides. If every step to which a step refers was skipped, nothing came to it, and it is skipped
//! too; what its condition refers to does not count, since a condition can ask with `has()`.

use std::collections::BTreeSet;

use greenroom_protocol::StepId;
use greenroom_protocol::journal::SkipReason;

use crate::binding::inherited_input;
use crate::expr::{Expr, Reference};
use crate::plan::PlanStep;
use crate::scope::Scope;
use crate::types::Field;

impl PlanStep {
    /// The steps to which its inputs, its list and its approval prompt refer; not those of its condition.
    #[must_use]
    pub fn input_steps(&self) -> BTreeSet<&StepId> {
        let exprs = self.inputs.values().chain(self.approval.as_ref());
        let exprs = exprs.chain(self.for_each.as_ref().map(|each| &each.items));
        exprs.flat_map(Expr::references).filter_map(Reference::step).collect()
    }

    /// The steps to which its condition refers.
    pub fn condition_steps(&self) -> impl Iterator<Item = &str> {
        self.when.iter().flat_map(|when| when.steps())
    }
}

/// The value that a step needs and lacks, because steps to which it refers were skipped. `receiver` are the inputs of
/// its agent or workflow; without declared inputs, a workflow needs none.
#[must_use]
pub fn absent_need(step: &PlanStep, receiver: &[Field], scope: &Scope<'_>) -> Option<SkipReason> {
    let absent = |value: String, expr: &Expr| {
        expr.is_absent(scope).then(|| SkipReason::ValueAbsent { value, steps: skipped_steps(expr, scope) })
    };
    if let Some(reason) = step.for_each.as_ref().and_then(|each| absent("for_each".into(), &each.items)) {
        return Some(reason);
    }
    if let Some(reason) = step.approval.as_ref().and_then(|prompt| absent("approval".into(), prompt)) {
        return Some(reason);
    }
    let is_filled = |field: &Field| {
        field.default.is_some()
            || inherited_input(&field.name, scope).is_some()
            || step.inputs.get(&field.name).is_some_and(|expr| !expr.is_absent(scope))
    };
    let gap = receiver.iter().find(|field| field.required && !is_filled(field))?;
    if let Some(expr) = step.inputs.get(&gap.name) {
        return absent(format!("inputs.{}", gap.name), expr);
    }
    // The only required text receives the undeclared inputs, as long as there are any.
    let undeclared = || step.inputs.iter().filter(|(name, _)| receiver.iter().all(|field| field.name != **name));
    let is_all_absent = undeclared().next().is_some() && undeclared().all(|(_, expr)| expr.is_absent(scope));
    let steps: BTreeSet<StepId> = undeclared().flat_map(|(_, expr)| skipped_steps(expr, scope)).collect();
    (gap.kind().is_text() && is_all_absent)
        .then(|| SkipReason::ValueAbsent { value: format!("inputs.{}", gap.name), steps: steps.into_iter().collect() })
}

/// The skipped steps to which an expression refers.
fn skipped_steps(expr: &Expr, scope: &Scope<'_>) -> Vec<StepId> {
    let references = expr.references();
    let skipped = references.into_iter().filter_map(Reference::step).filter(|step| !scope.steps.contains_key(*step));
    skipped.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
