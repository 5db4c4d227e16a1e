//! Every definition of one load that could be read, each with its location, before the checks
//! compare them with each other. The loader fills a set and the checks read it.

use std::path::Path;
use std::sync::Arc;

use crate::agent::Agent;
use crate::capability::Capabilities;
use crate::category::Categories;
use crate::kind::DefinitionKind;
use crate::models::Models;
use crate::team::Team;
use crate::workflow::{Workflow, WorkflowSpec};

mod located;
mod reference;

pub(crate) use located::Located;
pub(crate) use reference::{Reference, ReferenceKind};

/// A workflow as written, and compiled if it is valid.
pub(crate) struct LoadedWorkflow {
    pub(crate) spec: WorkflowSpec,
    pub(crate) compiled: Option<Workflow>,
}

/// A file whose definition could not be decoded.
pub(crate) struct UndecodedFile {
    pub(crate) kind: DefinitionKind,
    /// The id that it declares, so that a reference to it is not a second problem; else the name of the file.
    pub(crate) id: String,
    pub(crate) is_id_declared: bool,
    pub(crate) file: Arc<Path>,
}

/// A valid snippet.
pub(crate) struct LoadedSnippet {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) file: Arc<Path>,
}

/// All definitions of one load that could be decoded, invalid ones among them.
#[derive(Default)]
pub(crate) struct DefinitionSet {
    pub(crate) agents: Vec<Located<Agent>>,
    pub(crate) workflows: Vec<Located<LoadedWorkflow>>,
    pub(crate) teams: Vec<Located<Team>>,
    pub(crate) categories: Vec<Located<Categories>>,
    pub(crate) capabilities: Vec<Located<Capabilities>>,
    pub(crate) models: Vec<Located<Models>>,
    pub(crate) snippets: Vec<LoadedSnippet>,
    pub(crate) undecoded: Vec<UndecodedFile>,
    /// True if an invalid file of categories has defaults, which are then unknown.
    pub(crate) has_lost_defaults: bool,
    /// The references of all files.
    pub(crate) references: Vec<Reference>,
}

impl DefinitionSet {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.agents.append(&mut other.agents);
        self.workflows.append(&mut other.workflows);
        self.teams.append(&mut other.teams);
        self.categories.append(&mut other.categories);
        self.capabilities.append(&mut other.capabilities);
        self.models.append(&mut other.models);
        self.snippets.append(&mut other.snippets);
        self.undecoded.append(&mut other.undecoded);
        self.has_lost_defaults |= other.has_lost_defaults;
        self.references.append(&mut other.references);
    }

    /// The ids of the definitions of a kind that could not be decoded.
    pub(crate) fn undecoded_ids(&self, kind: DefinitionKind) -> impl Iterator<Item = &str> {
        self.undecoded.iter().filter(move |file| file.kind == kind).map(|file| file.id.as_str())
    }

    /// True if a file of this kind exists and could not be decoded.
    pub(crate) fn has_undecoded(&self, kind: DefinitionKind) -> bool {
        self.undecoded_ids(kind).next().is_some()
    }

    /// Removes the definitions that the other set also has: it replaces them.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        let mut replaced: Vec<Arc<Path>> = Vec::new();
        let has = |kind, id: &str| other.undecoded_ids(kind).any(|one| one == id);
        remove(&mut self.agents, &mut replaced, |agent| {
            let id = agent.id();
            has(DefinitionKind::Agent, id.as_str()) || other.agents.iter().any(|one| one.value.id() == id)
        });
        remove(&mut self.workflows, &mut replaced, |workflow| {
            let id = &workflow.spec.workflow_id;
            let mut others = other.workflows.iter();
            has(DefinitionKind::Workflow, id.as_str()) || others.any(|one| one.value.spec.workflow_id == *id)
        });
        remove(&mut self.teams, &mut replaced, |team| {
            let id = team.id();
            has(DefinitionKind::Team, id.as_str()) || other.teams.iter().any(|one| one.value.id() == id)
        });
        let replaces_categories = !other.categories.is_empty() || other.has_undecoded(DefinitionKind::Categories);
        remove(&mut self.categories, &mut replaced, |_| replaces_categories);
        let replaces_capabilities = !other.capabilities.is_empty() || other.has_undecoded(DefinitionKind::Capabilities);
        remove(&mut self.capabilities, &mut replaced, |_| replaces_capabilities);
        let replaces_models = !other.models.is_empty() || other.has_undecoded(DefinitionKind::Models);
        remove(&mut self.models, &mut replaced, |_| replaces_models);
        let is_replaced =
            |name: &str| has(DefinitionKind::Snippet, name) || other.snippets.iter().any(|one| one.name == name);
        self.snippets.retain(|snippet| {
            let remains = !is_replaced(&snippet.name);
            if !remains {
                replaced.push(snippet.file.clone());
            }
            remains
        });
        self.references.retain(|reference| !replaced.contains(&reference.location.file));
        self
    }
}

fn remove<T>(all: &mut Vec<Located<T>>, replaced: &mut Vec<Arc<Path>>, is_replaced: impl Fn(&T) -> bool) {
    all.retain(|definition| {
        let remains = !is_replaced(&definition.value);
        if !remains {
            replaced.push(definition.file.clone());
        }
        remains
    });
}
