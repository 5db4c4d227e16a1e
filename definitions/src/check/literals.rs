//! Checks the values of a step's inputs against their types, as far as a value is known without a run.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, StepId, Values};

use crate::definition_set::{LoadedWorkflow, Located};
use crate::expr::Expr;
use crate::problem::{Problem, ProblemKind};
use crate::scope::Scope;
use crate::types::{Field, FieldType, Undeclared};
use crate::yaml::PathSegment;

/// Reports a value that the run would reject whatever its references are.
pub(super) fn check(
    definition: &Located<LoadedWorkflow>,
    step: &StepId,
    path: &[PathSegment<'_>],
    (field, value): (&Field, &Json),
    problems: &mut Vec<Problem>,
) {
    // The compiler of the plan reports an invalid expression; a null input counts as missing.
    let Ok(expr) = Expr::parse(value) else { return };
    if value.is_null() {
        return;
    }
    let mut report = |found: String, expected: &str| {
        let found = format!("step `{step}`: {found}");
        problems.push(definition.error(path, ProblemKind::WrongType, found, expected));
    };
    if expr.references().is_empty() {
        let literal = expr.evaluate(&Scope::new(&Values::new(), &Values::new(), &BTreeMap::new())).unwrap_or_default();
        if let Err(mismatches) = field.value_type.accept(literal, Undeclared::Reject) {
            mismatches.describe(&format!("inputs.{}", field.name)).into_iter().for_each(|problem| report(problem, ""));
        }
    } else if let Some(found) = mismatch(&expr, field.kind()) {
        let expected = "a text that is one reference keeps the type of its value";
        report(format!("`inputs.{}` must be {}, not {found}", field.name, field.kind().described()), expected);
    }
}

/// Describes an expression with references if its kind is known and another one.
fn mismatch(expr: &Expr, kind: FieldType) -> Option<&'static str> {
    match expr {
        Expr::Literal(_) | Expr::Reference(_) => None,
        Expr::Text(_) if matches!(kind, FieldType::Text | FieldType::String | FieldType::File) => None,
        Expr::Text(_) => Some("a text with references in it"),
        Expr::Array(_) => (kind != FieldType::Array).then_some("a list"),
        Expr::Object(_) => (kind != FieldType::Object).then_some("a map"),
    }
}
