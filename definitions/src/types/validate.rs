//! Validation of values against a definition. Every value that does not fit is reported, not only the first.

use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

use super::{Field, Mismatches, ValueType};
use crate::problem::did_you_mean;

mod constraints;
mod tree;

pub(super) use constraints::shortened;

/// What happens to a member of an object that the properties of its type do not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undeclared {
    /// It is a mismatch: a caller has misspelt it.
    Reject,
    /// It is dropped: a model has added it.
    Drop,
}

/// Validates a value against a type.
pub(super) fn accept(value_type: &ValueType, value: Json, undeclared: Undeclared) -> Result<Json, Mismatches> {
    tree::Validator::new(undeclared).accept(value_type, value)
}

/// Validates inputs against fields and fills in defaults. `owner` is named in the error.
///
/// # Errors
/// `missing_input` if a required one is missing, else `invalid_input`; `details.problems` lists all
/// problems.
pub fn validate_inputs(owner: &str, fields: &[Field], inputs: Values) -> Result<Values, Cause> {
    validate_bound_inputs(owner, fields, inputs, |_| None)
}

/// Validates inputs as [`validate_inputs`] does, and adds the reason why an input is missing, if there is one.
///
/// # Errors
/// As [`validate_inputs`].
pub(crate) fn validate_bound_inputs(
    owner: &str,
    fields: &[Field],
    mut inputs: Values,
    describe_gap: impl Fn(&str) -> Option<String>,
) -> Result<Values, Cause> {
    let mut problems = Vec::new();
    let mut missing = Vec::new();
    let mut accepted = Values::new();
    for field in fields {
        let path = format!("inputs.{}", field.name);
        let value = inputs.remove(&field.name).filter(|value| !value.is_null());
        match value.or_else(|| field.default.clone()) {
            Some(value) => match field.value_type.accept(value, Undeclared::Reject) {
                Ok(value) => drop(accepted.insert(field.name.clone(), value)),
                Err(mismatches) => problems.extend(mismatches.describe(&path)),
            },
            None if field.required => {
                let gap = describe_gap(&field.name).map(|gap| format!(": {gap}")).unwrap_or_default();
                missing.push(format!("`{path}` ({}) is missing{gap}", field.kind()));
            }
            None => {}
        }
    }
    for name in inputs.keys() {
        let hint = did_you_mean(name, fields.iter().map(|field| field.name.as_str()));
        problems.push(format!("there is no input `{name}`{}", hint.unwrap_or_default()));
    }
    let code = if missing.is_empty() { ErrorCode::InvalidInput } else { ErrorCode::MissingInput };
    missing.append(&mut problems);
    finish(code, owner, accepted, missing)
}

/// Validates outputs against fields and copies those with `from` from the inputs. Undeclared outputs
/// are dropped; a null value counts as missing. `owner` is named in the error.
///
/// # Errors
/// `invalid_output`; `details.problems` lists all problems.
pub fn validate_outputs(owner: &str, fields: &[Field], inputs: &Values, mut outputs: Values) -> Result<Values, Cause> {
    let mut problems = Vec::new();
    let mut accepted = Values::new();
    for field in fields {
        let path = format!("outputs.{}", field.name);
        // A copy is unchanged or rejected; only what a model or a handler has added is dropped.
        let (value, undeclared) = match &field.from {
            Some(input) => (inputs.get(input).cloned(), Undeclared::Reject),
            None => (outputs.remove(&field.name), Undeclared::Drop),
        };
        match value.filter(|value| !value.is_null()) {
            Some(value) => match field.value_type.accept(value, undeclared) {
                Ok(value) => drop(accepted.insert(field.name.clone(), value)),
                Err(mismatches) => problems.extend(mismatches.describe(&path)),
            },
            None if field.required => problems.push(format!("`{path}` ({}) is missing", field.kind())),
            None => {}
        }
    }
    finish(ErrorCode::InvalidOutput, owner, accepted, problems)
}

fn finish(code: ErrorCode, owner: &str, accepted: Values, problems: Vec<String>) -> Result<Values, Cause> {
    if problems.is_empty() {
        return Ok(accepted);
    }
    Err(Cause::new(code, format!("{owner}: {}", problems.join("; "))).with_details(json!({ "problems": problems })))
}
