//! Decides what is in service after a load: each valid definition whose needs are in service; else its last valid
//! version, if its needs are in service; else nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use candidate::{Candidate, Definition, Need};
use greenroom_protocol::CategoryId;

use super::Minimum;
use super::declared::id_from_name;
use super::find::definition_kind;
use crate::canonical::canonical_body;
use crate::capability::{Capabilities, Capability};
use crate::catalogue::{Catalogue, CatalogueParts, DefinitionKey, without_ordinal};
use crate::category::{Categories, Category, CategoryDefaults};
use crate::definition_set::{DefinitionSet, Located, Reference, UndecodedFile};
use crate::kind::DefinitionKind;
use crate::models::Models;
use crate::problem::{Location, Problem, ProblemKind, Severity};
use crate::quarantine::Quarantined;

mod candidate;

/// The first error of a file, and the number of the others.
type FileErrors<'a> = BTreeMap<&'a Path, (&'a Problem, usize)>;

/// The definitions of one load, by kind and id.
struct Service<'a> {
    candidates: BTreeMap<DefinitionKey, Candidate>,
    /// Ids of agents without their ordinal → ids with the lowest one.
    short: BTreeMap<String, String>,
    /// The files of the candidates.
    files: BTreeSet<Arc<Path>>,
    /// Quarantined files that contain no candidate.
    others: Vec<Quarantined>,
    errors: FileErrors<'a>,
    previous: Option<&'a Catalogue>,
    references: Vec<Reference>,
    models: Option<Models>,
    categories: Vec<Category>,
    capabilities: Vec<Capability>,
}

/// Creates the catalogue of what is in service; `None` if the source has less than the minimum.
pub(super) fn assemble(
    all: DefinitionSet,
    problems: &[Problem],
    previous: Option<&Catalogue>,
    minimum: Minimum,
) -> Option<Catalogue> {
    let errors = first_errors(problems);
    let DefinitionSet { agents, workflows, teams, categories, capabilities, models, undecoded, references, .. } = all;
    let mut service = Service {
        candidates: BTreeMap::new(),
        short: BTreeMap::new(),
        files: BTreeSet::new(),
        others: Vec::new(),
        previous,
        references,
        models: choose_models(models, &errors, previous),
        categories: choose_categories(categories, &errors, previous),
        capabilities: choose_capabilities(capabilities, &errors, previous),
        errors,
    };
    for located in agents {
        let key = (DefinitionKind::Agent, located.value.id().to_string());
        service.add(key, Some(Definition::Agent(Box::new(located.value))), located.file);
    }
    for located in workflows {
        let key = (DefinitionKind::Workflow, located.value.spec.workflow_id.to_string());
        let compiled = located.value.compiled.map(|workflow| Definition::Workflow(Box::new(workflow)));
        service.add(key, compiled, located.file);
    }
    for located in teams {
        let key = (DefinitionKind::Team, located.value.id().to_string());
        service.add(key, Some(Definition::Team(Box::new(located.value))), located.file);
    }
    // A source without an error needs no quarantine: each of its needs was checked.
    if !service.errors.is_empty() {
        undecoded.into_iter().for_each(|file| service.add_undecoded(file));
        service.add_other_files();
        service.index_short_ids();
        service.remove_what_lacks_its_needs();
    }
    (service.errors.is_empty() || service.has(minimum)).then(|| Catalogue::new(service.into_parts()))
}

/// The models of the one valid file; else those that were in service before.
fn choose_models(
    models: Vec<Located<Models>>,
    errors: &FileErrors<'_>,
    previous: Option<&Catalogue>,
) -> Option<Models> {
    match <[Located<Models>; 1]>::try_from(models) {
        Ok([only]) if !errors.contains_key(&*only.file) => Some(only.value),
        Ok(_) | Err(_) => {
            let last = previous.map(Catalogue::models).filter(|models| !models.tiers.is_empty());
            last.map(|models| (**models).clone())
        }
    }
}

/// The categories of the one valid file; else those that were in service before; else what could be decoded.
fn choose_categories(
    categories: Vec<Located<Categories>>,
    errors: &FileErrors<'_>,
    previous: Option<&Catalogue>,
) -> Vec<Category> {
    let is_valid = matches!(categories.as_slice(), [only] if !errors.contains_key(&*only.file));
    match previous {
        Some(previous) if !is_valid => previous.categories().map(|category| (**category).clone()).collect(),
        Some(_) | None => categories.into_iter().flat_map(|file| file.value.categories).collect(),
    }
}

/// The capabilities, as [`choose_categories`].
fn choose_capabilities(
    capabilities: Vec<Located<Capabilities>>,
    errors: &FileErrors<'_>,
    previous: Option<&Catalogue>,
) -> Vec<Capability> {
    let is_valid = matches!(capabilities.as_slice(), [only] if !errors.contains_key(&*only.file));
    match previous {
        Some(previous) if !is_valid => previous.capabilities().cloned().collect(),
        Some(_) | None => capabilities.into_iter().flat_map(|file| file.value.capabilities).collect(),
    }
}

fn first_errors(problems: &[Problem]) -> FileErrors<'_> {
    let mut errors: FileErrors<'_> = BTreeMap::new();
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Error) {
        let entry = errors.entry(&problem.location.file);
        entry.and_modify(|(first, more)| (*first, *more) = ((*first).min(problem), *more + 1)).or_insert((problem, 0));
    }
    errors
}

impl Service<'_> {
    /// Adds a definition of the load. It is quarantined if its file has an error, or if another file has its id:
    /// the order of the files does not decide which one is meant.
    fn add(&mut self, key: DefinitionKey, loaded: Option<Definition>, file: Arc<Path>) {
        let cause = self.cause_of(&file);
        self.files.insert(file.clone());
        if let Some(other) = self.candidates.get_mut(&key) {
            other.cause = other.cause.take().or(cause);
            return;
        }
        let last = self.previous.and_then(|previous| Definition::find(previous, &key));
        self.candidates.insert(key, Candidate { file, loaded, last, cause });
    }

    /// Adds a definition that could not be decoded. A decoded one with its id is not affected.
    fn add_undecoded(&mut self, undecoded: UndecodedFile) {
        let UndecodedFile { kind, id, file, .. } = undecoded;
        if kind.id_member().is_some() && !self.candidates.contains_key(&(kind, id.clone())) {
            self.add((kind, id), None, file);
        }
    }

    /// Adds the files with an error that contain no candidate.
    fn add_other_files(&mut self) {
        let candidates = &self.files;
        let has_candidate = |file: &Path| candidates.iter().any(|candidate| candidate.starts_with(file));
        let others: Vec<&Path> = self.errors.keys().copied().filter(|file| !has_candidate(file)).collect();
        others.into_iter().for_each(|file| self.add_other_file(Arc::from(file)));
    }

    fn add_other_file(&mut self, file: Arc<Path>) {
        let Some((problem, more)) = self.cause_of(&file) else { return };
        let kind = match definition_kind(&file) {
            kind if kind.id_member().is_none() => kind,
            kind if self.candidates.contains_key(&(kind, id_from_name(&file))) => DefinitionKind::Unknown,
            kind => kind,
        };
        let in_service = match kind {
            DefinitionKind::Models => self.models.as_ref().map(|models| canonical_body(models).1),
            DefinitionKind::Categories => self.previous.map(|_| canonical_body(&self.categories).1),
            DefinitionKind::Capabilities => self.previous.map(|_| canonical_body(&self.capabilities).1),
            DefinitionKind::Agent
            | DefinitionKind::Workflow
            | DefinitionKind::Team
            | DefinitionKind::Snippet
            | DefinitionKind::Unknown => None,
        };
        let id = if kind.id_member().is_some() { id_from_name(&file) } else { file.display().to_string() };
        self.others.push(Quarantined { kind, id, file, problem, more, in_service });
    }

    fn index_short_ids(&mut self) {
        for (kind, id) in self.candidates.keys() {
            if let (DefinitionKind::Agent, Some(short)) = (kind, without_ordinal(id)) {
                self.short.entry(short.to_owned()).or_insert_with(|| id.clone());
            }
        }
    }

    /// The first problem of a file, or of a folder that it is in, and the number of the others.
    fn cause_of(&self, file: &Path) -> Option<(Problem, usize)> {
        let (problem, more) = file.ancestors().find_map(|path| self.errors.get(path))?;
        Some(((*problem).clone(), *more))
    }

    /// Replaces or removes each definition that needs one that is not in service, until none does.
    fn remove_what_lacks_its_needs(&mut self) {
        loop {
            let lacking: Vec<(DefinitionKey, Need)> = self
                .candidates
                .iter()
                .filter_map(|(key, candidate)| {
                    let needs = candidate.in_service()?.needs();
                    Some((key.clone(), needs.into_iter().find(|need| !self.is_available(need))?))
                })
                .collect();
            if lacking.is_empty() {
                return;
            }
            for (key, need) in lacking {
                let Some(candidate) = self.candidates.get(&key) else { continue };
                let cause = candidate.cause.is_none().then(|| (self.lack(&candidate.file, &need), 0));
                let Some(candidate) = self.candidates.get_mut(&key) else { continue };
                match cause {
                    Some(cause) => candidate.cause = Some(cause),
                    None => candidate.last = None,
                }
            }
        }
    }

    fn is_available(&self, need: &Need) -> bool {
        match need {
            Need::Models => self.models.is_some(),
            Need::Definition(kind, id) => {
                self.resolve(*kind, id).is_some_and(|candidate| candidate.in_service().is_some())
            }
        }
    }

    /// The candidate that an id means: exactly that one, else the agent with the lowest ordinal.
    fn resolve(&self, kind: DefinitionKind, id: &str) -> Option<&Candidate> {
        self.candidates.get(&(kind, id.to_owned())).or_else(|| {
            let full = self.short.get(id).filter(|_| kind == DefinitionKind::Agent)?;
            self.candidates.get(&(kind, full.clone()))
        })
    }

    /// The problem of a definition that needs one that is not in service, at the reference to it.
    fn lack(&self, file: &Arc<Path>, need: &Need) -> Problem {
        let (subject, expected) = match need {
            Need::Models => ("the file of models".to_owned(), self.other_reason(DefinitionKind::Models)),
            Need::Definition(kind, id) => {
                let cause = self.resolve(*kind, id).and_then(|candidate| candidate.cause.as_ref());
                let reason = cause.map(|(problem, _)| problem.to_string());
                (format!("the {} `{id}`", kind.as_str()), reason.unwrap_or_default())
            }
        };
        let is_named = |reference: &&Reference| reference.location.file == *file && need.is_named_by(reference);
        let location = self.references.iter().find(is_named).map(|reference| reference.location.clone());
        Problem {
            location: location.unwrap_or_else(|| Location::whole_file(file.to_path_buf())),
            severity: Severity::Error,
            kind: ProblemKind::Quarantined,
            found: format!("{subject}, which this definition needs, is out of service"),
            expected,
        }
    }

    fn other_reason(&self, kind: DefinitionKind) -> String {
        self.others.iter().find(|other| other.kind == kind).map(Quarantined::reason).unwrap_or_default()
    }

    /// True if the source has the minimum.
    fn has(&self, minimum: Minimum) -> bool {
        self.candidates.values().any(|candidate| match minimum {
            Minimum::OneValid => candidate.cause.is_none() && candidate.loaded.is_some(),
            Minimum::OneInService => candidate.in_service().is_some(),
        })
    }

    fn into_parts(self) -> CatalogueParts {
        let mut parts = CatalogueParts {
            categories: self.categories,
            capabilities: self.capabilities,
            models: self.models.unwrap_or_default(),
            quarantined: self.others,
            ..CatalogueParts::default()
        };
        for (key, candidate) in self.candidates {
            parts.files.insert(candidate.file.clone(), key.clone());
            let (definition, quarantined) = candidate.into_service(key);
            parts.quarantined.extend(quarantined);
            match definition {
                Some(Definition::Agent(agent)) => {
                    add_category(&mut parts.categories, agent.spec().category.clone());
                    parts.agents.push(*agent);
                }
                Some(Definition::Workflow(workflow)) => parts.workflows.push(*workflow),
                Some(Definition::Team(team)) => parts.teams.push(*team),
                None => {}
            }
        }
        parts
    }
}

/// Adds the category of an agent, if an invalid file of categories hides it.
fn add_category(categories: &mut Vec<Category>, id: CategoryId) {
    if !categories.iter().any(|category| category.id == id) {
        let name = id.to_string();
        categories.push(Category {
            id,
            name,
            description: String::new(),
            agent_count: None,
            agents: Vec::new(),
            defaults: CategoryDefaults::default(),
        });
    }
}
