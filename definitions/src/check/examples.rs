//! Checks the examples of an agent against its inputs and outputs, and what they expect for sense.

use greenroom_protocol::{ErrorCode, Values};

use super::index::hint;
use crate::agent::{Agent, Example, Expectation};
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::types::Undeclared;
use crate::yaml::PathSegment;

mod assertions;

pub(super) fn check(all: &DefinitionSet) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        for (at, example) in definition.value.spec().examples.iter().enumerate() {
            inputs(definition, at, example, &mut problems);
            match &example.expect {
                Expectation::Assertions(all) => assertions::check(definition, at, all, &mut problems),
                Expectation::Outputs(outputs) => self::outputs(definition, at, outputs, &mut problems),
            }
        }
    }
    problems
}

/// The inputs are valid, unless the example shows how invalid ones are refused.
fn inputs(definition: &Located<Agent>, at: usize, example: &Example, problems: &mut Vec<Problem>) {
    let refused = example.expect.fails().filter(|code| is_refusal_of_inputs(*code));
    let path = [PathSegment::Name("examples"), PathSegment::Item(at), PathSegment::Name("inputs")];
    let found = match (definition.value.validate_inputs(example.inputs.clone()), refused) {
        (Ok(_), None) => return,
        (Err(cause), Some(code)) if cause.code == code => return,
        (Err(cause), Some(code)) => {
            format!("the example fails with `{}`, not with `{code}`: {}", cause.code, cause.message)
        }
        (Err(cause), None) => format!("the example is invalid: {}", cause.message),
        (Ok(_), Some(code)) => format!("the inputs are valid, so the example does not fail with `{code}`"),
    };
    problems.push(definition.error(&path, ProblemKind::InvalidValue, found, ""));
}

const fn is_refusal_of_inputs(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::MissingInput | ErrorCode::InvalidInput)
}

/// Checks expected outputs of the older form.
fn outputs(definition: &Located<Agent>, at: usize, expected: &Values, problems: &mut Vec<Problem>) {
    for (name, value) in expected {
        let path = [
            PathSegment::Name("examples"),
            PathSegment::Item(at),
            PathSegment::Name("expect"),
            PathSegment::Name(name),
        ];
        match definition.value.output(name) {
            Some(field) => {
                if let Err(mismatches) = field.value_type.accept(value.clone(), Undeclared::Reject) {
                    let error = |problem| {
                        let found = format!("the expected {problem}");
                        definition.error(&path, ProblemKind::InvalidValue, found, "")
                    };
                    problems.extend(mismatches.describe(name).into_iter().map(error));
                }
            }
            None => {
                let known = definition.value.spec().outputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no output `{name}`");
                problems.push(definition.error(&path, ProblemKind::UnknownReference, found, hint(name, known)));
            }
        }
    }
}
