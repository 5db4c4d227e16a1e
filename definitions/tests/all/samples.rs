//! Every shipped workflow has sample inputs that it accepts.

use std::collections::BTreeSet;

use greenroom_definitions::samples::{SAMPLES, sample};
use greenroom_definitions::{FieldType, Workflow};
use greenroom_protocol::raw_input::RawInput;
use greenroom_protocol::{Json, Values};

use crate::folder::{Folder, agent};
use crate::shipped::{catalogue, home, same, shipped};

/// The sample inputs of a workflow as its steps receive them: a file that travels inside of a request is stored, and its
/// reference is a text.
fn received(workflow: &Workflow, text: &str) -> Values {
    let mut inputs: Values = serde_json::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", workflow.id()));
    for field in workflow.spec().inputs.iter().filter(|field| field.value_type.kind == FieldType::File) {
        if let Some(value) = inputs.get_mut(&field.name) {
            assert!(
                RawInput::from_json(value).is_some(),
                "{}: {} is no file inside of a request",
                workflow.id(),
                field.name
            );
            *value = Json::from("stored.csv");
        }
    }
    inputs
}

#[test]
fn the_embedded_samples_are_those_of_the_folder() {
    let files = std::fs::read_dir(shipped().join("samples")).unwrap().flatten();
    let ids: BTreeSet<String> =
        files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned())).collect();
    let rows: String = ids
        .iter()
        .map(|id| format!("    (\"{id}\", include_str!(\"../../catalogue/samples/{id}.json\")),\n"))
        .collect();
    let path = home().join("src/samples.rs");
    let text = std::fs::read_to_string(&path).unwrap();
    let head = text.split_once("&[\n").map_or("", |(head, _)| head);
    same(&path, &format!("{head}&[\n{rows}];\n"));
}

#[test]
fn every_workflow_accepts_its_sample_inputs() {
    let catalogue = catalogue();
    let mut problems = Vec::new();
    for workflow in catalogue.workflows() {
        let Some(text) = sample(workflow.id().as_str()) else {
            problems.push(format!("{} has no sample inputs", workflow.id()));
            continue;
        };
        let inputs = received(workflow, text);
        let is_declared = |name: &String| workflow.spec().inputs.iter().any(|field| field.name == *name);
        problems.extend(
            inputs.keys().filter(|name| !is_declared(name)).map(|name| format!("{}: no input {name}", workflow.id())),
        );
        if let Err(cause) = workflow.validate_inputs(inputs) {
            problems.push(format!("{}: {cause}", workflow.id()));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(SAMPLES.len(), catalogue.workflow_count(), "a sample has no workflow");
}

#[test]
fn samples_are_found_by_their_workflow_and_are_no_definitions() {
    assert!(SAMPLES.is_sorted());
    assert!(SAMPLES.iter().all(|(id, text)| sample(id) == Some(*text)));
    assert_eq!(sample("no_such_workflow"), None);
    let folder = Folder::new().with("agents/one_agent.yaml", agent("one_agent")).with("samples/one.json", "{\"a\": 1}");
    assert_eq!(folder.problems(), Vec::<String>::new());
}
