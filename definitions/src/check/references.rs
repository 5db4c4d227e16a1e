//! Checks that references point to existing definitions and known names, in invalid files too.

use std::collections::BTreeSet;

use super::index::{Index, Lookup, hint};
use crate::agent::{Agent, ToolRef};
use crate::definition_set::{DefinitionSet, Located, Reference, ReferenceKind};
use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;
use crate::problem::{Problem, ProblemKind, Severity};
use crate::team::Team;
use crate::yaml::PathSegment;

pub(super) fn check(all: &DefinitionSet, index: &Index<'_>, known_names: &KnownNames) -> Vec<Problem> {
    let categories = known_categories(all);
    let capabilities = known_capabilities(all);
    let snippets = known_snippets(all);
    let mut problems: Vec<Problem> = all
        .references
        .iter()
        .filter_map(|reference| match reference.kind {
            ReferenceKind::Agent => {
                unknown(reference, index.agents.keys().copied()).map(|one| of_other_kind(one, reference, index))
            }
            ReferenceKind::Workflow => {
                unknown(reference, index.workflows.keys().copied()).map(|one| of_other_kind(one, reference, index))
            }
            ReferenceKind::Team => {
                unknown(reference, index.teams.keys().copied()).map(|one| of_other_kind(one, reference, index))
            }
            ReferenceKind::Category => unknown(reference, categories.as_ref()?.iter().copied()),
            ReferenceKind::Capability => unknown(reference, capabilities.as_ref()?.iter().copied()),
            ReferenceKind::Policy => unknown(reference, names(&known_names.policies)),
            ReferenceKind::Snippet => unknown(reference, snippets.iter().copied()),
            ReferenceKind::Handler => unknown(reference, names(&known_names.handlers)),
            ReferenceKind::Tool => unknown(reference, names(&known_names.tools)),
            ReferenceKind::ToolServer => unknown(reference, names(&known_names.tool_servers))
                .map(|problem| with_configured_servers(problem, known_names)),
            ReferenceKind::Provider => unknown(reference, names(&known_names.providers)),
        })
        .collect();
    all.agents.iter().for_each(|definition| tools(index, definition, &mut problems));
    all.teams.iter().for_each(|definition| members(index, definition, &mut problems));
    problems
}

/// The ids of the categories; `None` if their file could not be decoded.
fn known_categories(all: &DefinitionSet) -> Option<BTreeSet<&str>> {
    if all.has_undecoded(DefinitionKind::Categories) {
        return None;
    }
    let categories = all.categories.iter().flat_map(|file| &file.value.categories);
    Some(categories.map(|category| category.id.as_str()).collect())
}

/// The ids of the capabilities; `None` if their file could not be decoded: that is one problem, and not one for each
/// agent.
fn known_capabilities(all: &DefinitionSet) -> Option<BTreeSet<&str>> {
    if all.has_undecoded(DefinitionKind::Capabilities) {
        return None;
    }
    let capabilities = all.capabilities.iter().flat_map(|file| &file.value.capabilities);
    Some(capabilities.map(|capability| capability.id.as_str()).collect())
}

/// The names of the snippets, invalid ones among them: their own problems are reported already.
fn known_snippets(all: &DefinitionSet) -> BTreeSet<&str> {
    let valid = all.snippets.iter().map(|snippet| snippet.name.as_str());
    valid.chain(all.undecoded_ids(DefinitionKind::Snippet)).collect()
}

fn names(known: &BTreeSet<String>) -> impl Iterator<Item = &str> + Clone {
    known.iter().map(String::as_str)
}

fn unknown<'a>(reference: &Reference, known: impl Iterator<Item = &'a str> + Clone) -> Option<Problem> {
    if known.clone().any(|name| name == reference.name) {
        return None;
    }
    let kind = match reference.kind {
        ReferenceKind::Agent
        | ReferenceKind::Workflow
        | ReferenceKind::Team
        | ReferenceKind::Category
        | ReferenceKind::Snippet => ProblemKind::UnknownReference,
        ReferenceKind::Policy => ProblemKind::UnknownPolicy,
        ReferenceKind::Capability
        | ReferenceKind::Handler
        | ReferenceKind::Tool
        | ReferenceKind::ToolServer
        | ReferenceKind::Provider => ProblemKind::UnknownName,
    };
    let expected = match hint(&reference.name, known) {
        none if none.is_empty() && reference.kind == ReferenceKind::Capability => {
            "`capabilities.yaml` lists the capabilities; add it there".to_owned()
        }
        none if none.is_empty() && reference.kind == ReferenceKind::Snippet => {
            format!("write `snippets/{}.md`", reference.name)
        }
        none if none.is_empty() && reference.kind == ReferenceKind::Tool => missing_source(&reference.name),
        hint => hint,
    };
    Some(Problem {
        location: reference.location.clone(),
        severity: Severity::Error,
        kind,
        found: format!("there is no {} `{}`", reference.kind.as_str(), reference.name),
        expected,
    })
}

/// How a tool of a configured source becomes known; empty for any other tool.
fn missing_source(tool: &str) -> String {
    match tool.strip_prefix("http:").and_then(|name| name.split_once('/')) {
        Some((api, operation)) => {
            format!("`tools.http.{api}` of the configuration must name a document with the operation `{operation}`")
        }
        None => String::new(),
    }
}

/// Names the configured servers. The tools of a server are not checked: it may not be running.
fn with_configured_servers(mut problem: Problem, known_names: &KnownNames) -> Problem {
    if problem.expected.is_empty() {
        let all: Vec<String> = names(&known_names.tool_servers).map(|name| format!("`{name}`")).collect();
        problem.expected = if all.is_empty() {
            "no MCP server is configured; add a table `[mcp.servers.NAME]` to the settings file".to_owned()
        } else {
            format!("the configured MCP servers are {}", all.join(", "))
        };
    }
    problem
}

/// Names the kind of the definition that has the id, if it is of another kind than the reference.
fn of_other_kind(mut problem: Problem, reference: &Reference, index: &Index<'_>) -> Problem {
    let name = reference.name.as_str();
    let kinds = [
        (ReferenceKind::Agent, index.agents.contains_key(name)),
        (ReferenceKind::Workflow, index.workflows.contains_key(name)),
        (ReferenceKind::Team, index.teams.contains_key(name)),
    ];
    if let Some((kind, _)) = kinds.iter().find(|(_, exists)| *exists) {
        problem.expected = format!("`{name}` is the id of a definition of another kind: {}", kind.as_str());
    }
    problem
}

fn members(index: &Index<'_>, definition: &Located<Team>, problems: &mut Vec<Problem>) {
    let spec = definition.value.spec();
    if spec.agents.is_empty() {
        let path = [PathSegment::Name("agents")];
        problems.push(definition.error(&path, ProblemKind::InvalidValue, "the team has no agents", ""));
    }
    let mut members: BTreeSet<&str> = BTreeSet::new();
    for (at, id) in spec.agents.iter().enumerate() {
        if let Lookup::Found(found) = index.agent(id)
            && !members.insert(found.id().as_str())
        {
            let path = [PathSegment::Name("agents"), PathSegment::Item(at)];
            problems.push(definition.error(&path, ProblemKind::DuplicateId, format!("`{id}` is duplicated"), ""));
        }
    }
}

/// If an agent is a tool, one of the two agents must list the other as a collaborator, since the guard would
/// otherwise deny every call.
fn tools(index: &Index<'_>, definition: &Located<Agent>, problems: &mut Vec<Problem>) {
    for (at, tool) in definition.value.spec().tools.iter().enumerate() {
        let ToolRef::Agent(id) = &tool.tool else { continue };
        let path = [PathSegment::Name("tools"), PathSegment::Item(at)];
        let Lookup::Found(found) = index.agent(id) else { continue };
        if found.id() != definition.value.id()
            && !lists_collaborator(index, &definition.value, found)
            && !lists_collaborator(index, found, &definition.value)
        {
            let text = format!("every call of `{id}` would be denied: neither agent lists the other as a collaborator");
            let expected = format!("add `{id}` to `collaboration.can_work_with`");
            problems.push(definition.error(&path, ProblemKind::InvalidValue, text, expected));
        }
    }
}

fn lists_collaborator(index: &Index<'_>, caller: &Agent, callee: &Agent) -> bool {
    caller.spec().collaboration.can_work_with.iter().any(|id| match index.agent(id) {
        Lookup::Found(found) => found.id() == callee.id(),
        Lookup::Unreadable | Lookup::Missing => false,
    })
}
