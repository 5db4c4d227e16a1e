//! The compiled form of the shipped definitions, which the binary embeds: an index, and the canonical JSON of each
//! definition, which is decoded when it is first used.
//!
//! Everything that needs all definitions at once was done when the form was written: inheritance, references, the checks.
//! What depends on the host are the names that definitions use and handlers, tools, providers and the policy own; the
//! index lists them. A line of the index binds a text by its hash, which is the version of the definition, and the first
//! line binds the rest of the index, so that a damaged program reports what is damaged and serves nothing else for it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::{AgentId, Cause, ContentHash, ErrorCode, TeamId, WorkflowId};
use serde::de::DeserializeOwned;

use crate::canonical::parse_stored;
use crate::catalogue::{Catalogue, CatalogueParts, Definition, Entries, Entry, StoredDefinition};
use crate::kind::DefinitionKind;
use crate::known_names::KnownNames;

mod index;

use index::{Index, IndexLine, NO_FILE, NameKind};

/// The compiled form as texts: what is written into the tree, and what the binary embeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledText {
    /// The index.
    pub index: String,
    /// The canonical JSON of each definition in the order of the index, each with a line end.
    pub bodies: String,
}

impl CompiledText {
    /// Writes definitions, whose files were read and checked together and had no problem. `names` are those that they
    /// use and the host owns.
    #[must_use]
    pub(crate) fn new(definitions: &[StoredDefinition], names: &KnownNames, files: usize) -> Self {
        let mut sorted: Vec<&StoredDefinition> = definitions.iter().collect();
        sorted.sort_by(|left, right| (left.kind, &left.id).cmp(&(right.kind, &right.id)));
        let (mut lines, mut bodies) = (format!("files {files}\n"), String::new());
        for kind in NameKind::ALL {
            for name in kind.names(names) {
                lines.push_str(&format!("name {} {name}\n", kind.as_str()));
            }
        }
        for definition in sorted {
            let StoredDefinition { kind, id, file, hash, body } = definition;
            let file = file.as_ref().map_or_else(|| NO_FILE.to_owned(), |file| file.display().to_string());
            lines.push_str(&format!("definition {} {id} {hash} {} {file}\n", kind.name(), body.len()));
            bodies.push_str(body);
            bodies.push('\n');
        }
        let hash = ContentHash::from_content(lines.as_bytes());
        Self { index: format!("{} {hash}\n{lines}", index::HEAD), bodies }
    }
}

/// The compiled form as it is loaded: nothing but the index is read.
pub(crate) struct Compiled {
    index: Index,
    /// Categories, capabilities and models, without quarantined definitions; the checks need them at each start.
    others: CatalogueParts,
}

impl Compiled {
    /// Reads the index, and the categories, capabilities and models.
    ///
    /// # Errors
    /// `invalid_definition` if a text is not the one that was compiled.
    pub(crate) fn read(index: &'static str, bodies: &'static str) -> Result<Self, Cause> {
        let index = Index::read(index, bodies).map_err(|reason| damage(&reason))?;
        let files = index.lines.iter().filter(|line| line.file != NO_FILE).map(|line| {
            let file: Arc<Path> = Arc::from(Path::new(line.file));
            (file, (line.kind, line.id.to_owned()))
        });
        let others = CatalogueParts {
            categories: shared(&index, DefinitionKind::Categories)?,
            capabilities: shared(&index, DefinitionKind::Capabilities)?,
            models: shared(&index, DefinitionKind::Models)?,
            files: files.collect(),
            ..CatalogueParts::default()
        };
        Ok(Self { index, others })
    }

    /// The number of files that were compiled.
    pub(crate) const fn files(&self) -> usize {
        self.index.files
    }

    /// The names that the definitions use, and that the host owns.
    pub(crate) const fn names(&self) -> &KnownNames {
        &self.index.names
    }

    /// True if the host has every name that the definitions use, and its policy reads the capabilities that say so: no
    /// check could find a problem then that it did not find when the form was written.
    pub(crate) fn is_valid_for(&self, host: &KnownNames) -> bool {
        let is_owned = NameKind::ALL.iter().all(|kind| kind.names(&self.index.names).is_subset(kind.names(host)));
        let mut capabilities = self.others.capabilities.iter();
        is_owned
            && host.policy_capabilities.as_ref().is_none_or(|read| {
                capabilities.all(|capability| capability.policy.is_some() == read.contains(&capability.id))
            })
    }

    /// The catalogue, of which no agent, workflow and team is decoded.
    ///
    /// # Errors
    /// `invalid_definition` for an id that is none.
    pub(crate) fn into_catalogue(self) -> Result<Catalogue, Cause> {
        let mut entries = Entries::default();
        for line in &self.index.lines {
            match line.kind {
                DefinitionKind::Agent => insert(&mut entries.agents, line, AgentId::new)?,
                DefinitionKind::Workflow => insert(&mut entries.workflows, line, WorkflowId::new)?,
                DefinitionKind::Team => insert(&mut entries.teams, line, TeamId::new)?,
                DefinitionKind::Categories
                | DefinitionKind::Capabilities
                | DefinitionKind::Models
                | DefinitionKind::Snippet
                | DefinitionKind::Unknown => {}
            }
        }
        Ok(Catalogue::from_entries(entries, self.others))
    }
}

fn insert<I: Ord, T: Definition, E: Display>(
    entries: &mut BTreeMap<I, Entry<T>>,
    line: &IndexLine,
    to_id: impl Fn(&'static str) -> Result<I, E>,
) -> Result<(), Cause> {
    let id = to_id(line.id).map_err(|error| damage(&format!("`{}`: {error}", line.id)))?;
    entries.insert(id, Entry::compiled(line.hash, line.body));
    Ok(())
}

/// The categories, the capabilities or the models.
fn shared<T: DeserializeOwned>(index: &Index, kind: DefinitionKind) -> Result<T, Cause> {
    let line = index.lines.iter().find(|line| line.kind == kind);
    let line = line.ok_or_else(|| damage(&format!("it has no {}", kind.name())))?;
    if ContentHash::from_content(line.body.as_bytes()) != line.hash {
        return Err(damage(&format!("the {} have another hash", kind.name())));
    }
    parse_stored(line.body, kind.as_str()).map_err(|cause| damage(&cause.message))
}

fn damage(reason: &str) -> Cause {
    let message = format!("the embedded catalogue is damaged, so the program has to be installed again: {reason}");
    Cause::new(ErrorCode::InvalidDefinition, message)
}

#[cfg(test)]
mod tests;
