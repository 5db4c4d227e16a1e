//! Checks the values of a step's inputs against their types, as far as a value, or the type of a reference, is known
//! without a run.

use std::collections::BTreeMap;

use greenroom_protocol::{Json, StepId, Values};

use super::reference_types::{Contradiction, ReferenceTypes, contradiction};
use crate::definition_set::{LoadedWorkflow, Located};
use crate::expr::Expr;
use crate::problem::{Problem, ProblemKind};
use crate::scope::Scope;
use crate::types::{Field, FieldType, Undeclared, ValueType};
use crate::yaml::PathSegment;

/// Reports a value that the run would reject whatever its references are.
pub(super) fn check(
    definition: &Located<LoadedWorkflow>,
    types: &ReferenceTypes<'_>,
    path: &[PathSegment<'_>],
    (step, field, value): (&StepId, &Field, &Json),
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
    } else if let Some(Mismatch { path, expected, found, advice }) = mismatch(&expr, &field.value_type, types) {
        report(format!("`inputs.{}{path}` must be {}, {found}", field.name, expected.described()), advice);
    }
}

/// A part of an expression whose kind is known and another one than that of its receiver.
struct Mismatch {
    /// The path of the part below the input.
    path: String,
    expected: FieldType,
    /// The end of a sentence: `not a list`.
    found: String,
    advice: &'static str,
}

/// Finds the first part of an expression with references that the run would reject.
fn mismatch(expr: &Expr, value_type: &ValueType, types: &ReferenceTypes<'_>) -> Option<Mismatch> {
    let kind = value_type.kind;
    let written = |found: &str| {
        let advice = "a text that is one reference keeps the type of its value";
        Some(Mismatch { path: String::new(), expected: kind, found: format!("not {found}"), advice })
    };
    let inside = |step: String, part: &Expr, value_type: &ValueType| {
        mismatch(part, value_type, types).map(|inner| Mismatch { path: format!("{step}{}", inner.path), ..inner })
    };
    match expr {
        Expr::Literal(_) => None,
        Expr::Reference(reference) => {
            let found_type = types.type_of(reference)?;
            let Contradiction { path, found, expected } = contradiction(&found_type, value_type)?;
            let found = format!("and `${{{reference}}}{path}` is {}", found.described());
            Some(Mismatch { path, expected, found, advice: "" })
        }
        Expr::Text(_) if matches!(kind, FieldType::Text | FieldType::String | FieldType::File) => None,
        Expr::Text(_) => written("a text with references in it"),
        Expr::Array(_) if kind != FieldType::Array => written("a list"),
        Expr::Array(items) => {
            let item_type = value_type.items.as_deref()?;
            items.iter().enumerate().find_map(|(index, item)| inside(format!("[{index}]"), item, item_type))
        }
        Expr::Object(_) if kind != FieldType::Object => written("a map"),
        Expr::Object(members) => members.iter().find_map(|(name, member)| {
            inside(format!(".{name}"), member, &value_type.properties.get(name)?.value_type)
        }),
    }
}
