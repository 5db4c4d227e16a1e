//! An agent fits itself: its examples, its memory, its tools.

use super::hint;
use crate::agent::Agent;
use crate::loader::{All, Written};
use crate::problem::{Flaw, Problem};
use crate::yaml::Step;

pub(super) fn check(all: &All) -> Vec<Problem> {
    let mut problems = Vec::new();
    for written in &all.agents {
        outputs(written, &mut problems);
        recall(written, &mut problems);
        repeated(written, "capabilities", &written.what.spec().capabilities, &mut problems);
        for at in 0..written.what.spec().examples.len() {
            example(written, at, &mut problems);
        }
    }
    problems
}

fn outputs(written: &Written<Agent>, problems: &mut Vec<Problem>) {
    if written.what.spec().outputs.is_empty() {
        let path = [Step::Name("outputs")];
        problems.push(written.error(&path, Flaw::InvalidValue, "the agent gives nothing back", "name an output"));
    }
    for (at, field) in written.what.spec().outputs.iter().enumerate() {
        let Some(from) = &field.from else { continue };
        let path = [Step::Name("outputs"), Step::Item(at), Step::Name("from")];
        match written.what.input(from) {
            None => {
                let known = written.what.spec().inputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no input `{from}`");
                problems.push(written.error(&path, Flaw::UnknownReference, found, hint(from, known)));
            }
            Some(input) if input.kind != field.kind => {
                let found = format!("the input `{from}` is {}, not {}", input.kind.described(), field.kind.described());
                problems.push(written.error(&path, Flaw::WrongType, found, ""));
            }
            Some(input) if field.required && !input.required && input.default.is_none() => {
                let found = format!("the output `{}` must be there, the input `{from}` need not be", field.name);
                problems.push(written.error(&path, Flaw::InvalidValue, found, "say `required: false`"));
            }
            Some(_) => {}
        }
    }
}

fn recall(written: &Written<Agent>, problems: &mut Vec<Problem>) {
    let Some(recall) = &written.what.spec().memory_recall else { return };
    if written.what.input(&recall.query).is_none() {
        let path = [Step::Name("memory_recall"), Step::Name("query")];
        let known = written.what.spec().inputs.iter().map(|field| field.name.as_str());
        let wanted = hint(&recall.query, known);
        let found = format!("the agent has no input `{}`", recall.query);
        problems.push(written.error(&path, Flaw::UnknownReference, found, wanted));
    }
}

fn repeated(written: &Written<Agent>, member: &str, names: &[String], problems: &mut Vec<Problem>) {
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|before| before == name) {
            let path = [Step::Name(member), Step::Item(at)];
            problems.push(written.error(&path, Flaw::DuplicateId, format!("`{name}` is there twice"), ""));
        }
    }
}

/// An example is a claim about the definition, so it must fit it.
fn example(written: &Written<Agent>, at: usize, problems: &mut Vec<Problem>) {
    let Some(example) = written.what.spec().examples.get(at) else { return };
    let inputs = [Step::Name("examples"), Step::Item(at), Step::Name("inputs")];
    if let Err(cause) = written.what.validate_inputs(example.inputs.clone()) {
        problems.push(written.error(
            &inputs,
            Flaw::InvalidValue,
            format!("the example does not fit: {}", cause.message),
            "",
        ));
    }
    for (name, value) in &example.expect {
        let path = [Step::Name("examples"), Step::Item(at), Step::Name("expect"), Step::Name(name)];
        match written.what.output(name) {
            Some(field) => {
                if let Err(why) = field.accept(value.clone()) {
                    problems.push(written.error(&path, Flaw::InvalidValue, format!("the expected `{name}` {why}"), ""));
                }
            }
            None => {
                let known = written.what.spec().outputs.iter().map(|field| field.name.as_str());
                let found = format!("the agent has no output `{name}`");
                problems.push(written.error(&path, Flaw::UnknownReference, found, hint(name, known)));
            }
        }
    }
}
