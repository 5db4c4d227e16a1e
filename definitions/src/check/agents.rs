//! Checks one agent against itself: its outputs, memory recall and capabilities.

use super::index::hint;
use crate::agent::{Agent, RuntimeKind};
use crate::definition_set::{DefinitionSet, Located};
use crate::problem::{Problem, ProblemKind};
use crate::types::{Field, FieldType};
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet) -> Vec<Problem> {
    let mut problems = Vec::new();
    for definition in &all.agents {
        outputs(definition, &mut problems);
        recall(definition, &mut problems);
        repeated(definition, "capabilities", &definition.value.spec().capabilities, &mut problems);
    }
    problems
}

fn outputs(definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    if definition.value.spec().outputs.is_empty() {
        let path = [PathSegment::Name("outputs")];
        problems.push(definition.error(&path, ProblemKind::InvalidValue, "the agent has no outputs", "add an output"));
    }
    for (at, field) in definition.value.spec().outputs.iter().enumerate() {
        let Some(from) = &field.from else {
            file_of_model(definition, at, field, problems);
            continue;
        };
        let path = [PathSegment::Name("outputs"), PathSegment::Item(at), PathSegment::Name("from")];
        match definition.value.input(from) {
            None => {
                let known = definition.value.spec().inputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no input `{from}`");
                problems.push(definition.error(&path, ProblemKind::UnknownReference, found, hint(from, known)));
            }
            Some(input) if input.kind() != field.kind() => {
                let found =
                    format!("the input `{from}` is {}, not {}", input.kind().described(), field.kind().described());
                problems.push(definition.error(&path, ProblemKind::WrongType, found, ""));
            }
            Some(input) if field.required && !input.required && input.default.is_none() => {
                let found = format!("the output `{}` is required, but the input `{from}` is optional", field.name);
                problems.push(definition.error(&path, ProblemKind::InvalidValue, found, "set `required: false`"));
            }
            Some(_) => {}
        }
    }
}

/// A model produces text: what it would write as a file is a path that it has invented.
fn file_of_model(definition: &Located<Agent>, at: usize, field: &Field, problems: &mut Vec<Problem>) {
    let is_model = definition.value.spec().implementation.runtime == RuntimeKind::Llm;
    if is_model && field.value_type.contains_kind(FieldType::File) {
        let path = [PathSegment::Name("outputs"), PathSegment::Item(at), PathSegment::Name("type")];
        let found = format!("a model produces no file, so `{}` cannot be or contain one", field.name);
        let expected = "copy an input with `from`, or use another type";
        problems.push(definition.error(&path, ProblemKind::InvalidValue, found, expected));
    }
}

fn recall(definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    let Some(recall) = &definition.value.spec().memory_recall else { return };
    if definition.value.input(&recall.query).is_none() {
        let path = [PathSegment::Name("memory_recall"), PathSegment::Name("query")];
        let known = definition.value.spec().inputs.iter().map(|field| field.name.as_str());
        let expected = hint(&recall.query, known);
        let found = format!("the agent has no input `{}`", recall.query);
        problems.push(definition.error(&path, ProblemKind::UnknownReference, found, expected));
    }
}

fn repeated(definition: &Located<Agent>, member: &str, names: &[String], problems: &mut Vec<Problem>) {
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|before| before == name) {
            let path = [PathSegment::Name(member), PathSegment::Item(at)];
            problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{name}` is duplicated"), ""));
        }
    }
}
