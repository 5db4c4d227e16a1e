//! An agent fits itself: its examples, its memory, its tools.

use super::index::hint;
use crate::agent::Agent;
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        outputs(written, &mut problems);
        recall(written, &mut problems);
        repeated(written, "capabilities", &written.value.spec().capabilities, &mut problems);
        for at in 0..written.value.spec().examples.len() {
            example(written, at, &mut problems);
        }
    }
    problems
}

fn outputs(written: &Located<Agent>, problems: &mut Vec<Problem>) {
    if written.value.spec().outputs.is_empty() {
        let path = [PathSegment::Name("outputs")];
        problems.push(written.error(
            &path,
            ProblemKind::InvalidValue,
            "the agent gives nothing back",
            "name an output",
        ));
    }
    for (at, field) in written.value.spec().outputs.iter().enumerate() {
        let Some(from) = &field.from else { continue };
        let path = [PathSegment::Name("outputs"), PathSegment::Item(at), PathSegment::Name("from")];
        match written.value.input(from) {
            None => {
                let known = written.value.spec().inputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no input `{from}`");
                problems.push(written.error(&path, ProblemKind::UnknownReference, found, hint(from, known)));
            }
            Some(input) if input.field_type != field.field_type => {
                let found = format!(
                    "the input `{from}` is {}, not {}",
                    input.field_type.described(),
                    field.field_type.described()
                );
                problems.push(written.error(&path, ProblemKind::WrongType, found, ""));
            }
            Some(input) if field.required && !input.required && input.default.is_none() => {
                let found = format!("the output `{}` must be there, the input `{from}` need not be", field.name);
                problems.push(written.error(&path, ProblemKind::InvalidValue, found, "say `required: false`"));
            }
            Some(_) => {}
        }
    }
}

fn recall(written: &Located<Agent>, problems: &mut Vec<Problem>) {
    let Some(recall) = &written.value.spec().memory_recall else { return };
    if written.value.input(&recall.query).is_none() {
        let path = [PathSegment::Name("memory_recall"), PathSegment::Name("query")];
        let known = written.value.spec().inputs.iter().map(|field| field.name.as_str());
        let wanted = hint(&recall.query, known);
        let found = format!("the agent has no input `{}`", recall.query);
        problems.push(written.error(&path, ProblemKind::UnknownReference, found, wanted));
    }
}

fn repeated(written: &Located<Agent>, member: &str, names: &[String], problems: &mut Vec<Problem>) {
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|before| before == name) {
            let path = [PathSegment::Name(member), PathSegment::Item(at)];
            problems.push(written.error(&path, ProblemKind::DuplicateId, format!("`{name}` is there twice"), ""));
        }
    }
}

/// An example is a claim about the definition, so it must fit it.
fn example(written: &Located<Agent>, at: usize, problems: &mut Vec<Problem>) {
    let Some(example) = written.value.spec().examples.get(at) else { return };
    let inputs = [PathSegment::Name("examples"), PathSegment::Item(at), PathSegment::Name("inputs")];
    if let Err(cause) = written.value.validate_inputs(example.inputs.clone()) {
        problems.push(written.error(
            &inputs,
            ProblemKind::InvalidValue,
            format!("the example does not fit: {}", cause.message),
            "",
        ));
    }
    for (name, value) in &example.expect {
        let path = [
            PathSegment::Name("examples"),
            PathSegment::Item(at),
            PathSegment::Name("expect"),
            PathSegment::Name(name),
        ];
        match written.value.output(name) {
            Some(field) => {
                if let Err(why) = field.accept(value.clone()) {
                    problems.push(written.error(
                        &path,
                        ProblemKind::InvalidValue,
                        format!("the expected `{name}` {why}"),
                        "",
                    ));
                }
            }
            None => {
                let known = written.value.spec().outputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no output `{name}`");
                problems.push(written.error(&path, ProblemKind::UnknownReference, found, hint(name, known)));
            }
        }
    }
}
