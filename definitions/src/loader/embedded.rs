//! The definitions of the binary. Their compiled form was checked when it was written; a load only compares the names
//! that they use with those of the host. If the host lacks one, as with another policy, all definitions are decoded, and
//! those that use it are quarantined with what needs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_protocol::{Cause, policy_name};

use super::{LoadOutcome, Minimum, find, outcome, read_checked, read_share, service};
use crate::agent::{Agent, RuntimeKind, ToolRef};
use crate::catalogue::{Catalogue, DefinitionKey};
use crate::check::check_names;
use crate::compiled::{Compiled, CompiledText};
use crate::definition_set::{DefinitionSet, LoadedWorkflow, Located, Reference, ReferenceKind};
use crate::embedded;
use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;
use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::report::Report;
use crate::yaml::{Node, NodeValue, Position};

/// The file to which a problem of the whole compiled form belongs.
const COMPILED: &str = "compiled";

/// Compiles a folder, of which nothing may have a problem, for the binary.
///
/// # Errors
/// The problems of all files, if there is one; a warning is one.
pub fn compile(folder: &Path, known_names: &KnownNames) -> Result<CompiledText, Report> {
    let (files, unlisted) = find::directory_files(folder);
    let count = files.len();
    let (all, problems) = read_checked(files, unlisted, known_names, None);
    let names = names_of(&all.references);
    let catalogue = service::assemble(all, &problems, None, Minimum::OneValid);
    match catalogue.filter(|_| problems.is_empty()) {
        Some(catalogue) => Ok(CompiledText::new(&catalogue.to_stored(), &names, count)),
        None => Err(Report::new(problems, count)),
    }
}

/// The names of references that the host owns.
fn names_of(references: &[Reference]) -> KnownNames {
    let mut names = KnownNames::default();
    for Reference { kind, name, .. } in references {
        let owned = match kind {
            ReferenceKind::Policy => &mut names.policies,
            ReferenceKind::Handler => &mut names.handlers,
            ReferenceKind::Tool => &mut names.tools,
            ReferenceKind::ToolServer => &mut names.tool_servers,
            ReferenceKind::Provider => &mut names.providers,
            ReferenceKind::Agent
            | ReferenceKind::Workflow
            | ReferenceKind::Team
            | ReferenceKind::Category
            | ReferenceKind::Capability
            | ReferenceKind::Snippet => continue,
        };
        owned.insert(name.clone());
    }
    names
}

/// Loads the definitions of the binary.
pub(super) fn load(known_names: &KnownNames, previous: Option<&Catalogue>, minimum: Minimum) -> LoadOutcome {
    try_load(known_names, previous, minimum).unwrap_or_else(|cause| outcome(None, vec![damage(&cause)], 0))
}

fn try_load(known_names: &KnownNames, previous: Option<&Catalogue>, minimum: Minimum) -> Result<LoadOutcome, Cause> {
    let compiled = embedded::compiled()?;
    let files = compiled.files();
    if compiled.is_valid_for(known_names) {
        return Ok(outcome(Some(compiled.into_catalogue()?), Vec::new(), files));
    }
    let all = set_of(compiled)?;
    let problems = check_names(&all, known_names);
    let catalogue = service::assemble(all, &problems, previous, minimum);
    Ok(outcome(catalogue, problems, files))
}

/// The problem of a damaged program.
pub(super) fn damage(cause: &Cause) -> Problem {
    Problem {
        location: Location::whole_file(PathBuf::from(COMPILED)),
        severity: Severity::Error,
        kind: ProblemKind::Unreadable,
        found: cause.message.clone(),
        expected: String::new(),
    }
}

/// Every definition of the binary, decoded, for checks with others.
///
/// # Errors
/// `invalid_definition` if a text is not the one that was compiled.
pub(super) fn definition_set() -> Result<DefinitionSet, Cause> {
    set_of(embedded::compiled()?)
}

fn set_of(compiled: Compiled) -> Result<DefinitionSet, Cause> {
    let catalogue = compiled.into_catalogue()?;
    if let Some(damage) = catalogue.damages().into_iter().next() {
        return Err(damage);
    }
    // A test checks these files, so they have no problems.
    let (mut all, _) = read_share(&find::embedded_files());
    let files: BTreeMap<&DefinitionKey, &Arc<Path>> = catalogue.files().iter().map(|(file, key)| (key, file)).collect();
    let file_of = |kind: DefinitionKind, id: &str| -> Arc<Path> {
        match files.get(&(kind, id.to_owned())) {
            Some(file) => Arc::clone(file),
            None => Arc::from(Path::new(COMPILED)),
        }
    };
    for agent in catalogue.agents() {
        let file = file_of(DefinitionKind::Agent, agent.id().as_str());
        all.references.extend(references_of(agent, &file));
        all.agents.push(located((**agent).clone(), file));
    }
    for workflow in catalogue.workflows() {
        let file = file_of(DefinitionKind::Workflow, workflow.id().as_str());
        all.references.extend(policies(&workflow.spec().policies, &file));
        let loaded = LoadedWorkflow { spec: workflow.spec().clone(), compiled: Some((**workflow).clone()) };
        all.workflows.push(located(loaded, file));
    }
    for team in catalogue.teams() {
        let file = file_of(DefinitionKind::Team, team.id().as_str());
        all.references.extend(policies(&team.spec().policies, &file));
        all.teams.push(located((**team).clone(), file));
    }
    Ok(all)
}

/// A definition whose positions in its file are not known any more.
fn located<T>(value: T, file: Arc<Path>) -> Located<T> {
    Located { value, node: Node { at: Position::default(), value: NodeValue::Null }, file }
}

/// The names of an agent that the host owns. Its other references were checked when it was compiled.
fn references_of(agent: &Agent, file: &Arc<Path>) -> Vec<Reference> {
    let spec = agent.spec();
    let mut references = policies(&spec.policies, file);
    let implementation = &spec.implementation;
    if implementation.runtime == RuntimeKind::Native {
        references.extend(implementation.handler.iter().map(|name| reference(ReferenceKind::Handler, name, file)));
    }
    references.extend(spec.tools.iter().filter_map(|tool| match &tool.tool {
        ToolRef::Native(name) => Some(reference(ReferenceKind::Tool, name, file)),
        ToolRef::Http(_) => Some(reference(ReferenceKind::Tool, &tool.tool.to_string(), file)),
        ToolRef::Mcp { server, tool: _ } => Some(reference(ReferenceKind::ToolServer, server, file)),
        ToolRef::Agent(_) => None,
    }));
    let models = implementation.model.iter().chain(&implementation.fallback_models);
    let models = models.filter(|model| model.tier().is_none());
    references.extend(models.map(|model| reference(ReferenceKind::Provider, model.provider(), file)));
    references
}

fn policies(named: &[String], file: &Arc<Path>) -> Vec<Reference> {
    named.iter().map(|policy| reference(ReferenceKind::Policy, policy_name::split(policy).0, file)).collect()
}

fn reference(kind: ReferenceKind, name: &str, file: &Arc<Path>) -> Reference {
    let location = Location { file: Arc::clone(file), line: 0, column: 0 };
    Reference { kind, name: name.to_owned(), location }
}
