//! The definitions of a catalogue as texts, for a store. After a restart, the catalogue that is rebuilt from them is
//! what the last valid version of a definition is taken from while its file is invalid.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash};

use super::{Catalogue, CatalogueParts, Definition, DefinitionKey, Entry};
use crate::agent::Agent;
use crate::canonical::{canonical_body, parse_stored};
use crate::kind::DefinitionKind;
use crate::team::Team;
use crate::workflow::Workflow;

/// One definition of a catalogue as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The kind of definition.
    pub kind: DefinitionKind,
    /// Its id; the name of its kind for categories, capabilities and models, which have none.
    pub id: String,
    /// The file that contained it when it was loaded; `None` if there was none for it alone.
    pub file: Option<PathBuf>,
    /// The hash of its body: its version.
    pub hash: ContentHash,
    /// Its canonical JSON.
    pub body: Arc<str>,
}

/// A stored text that this release cannot read.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableDefinition {
    /// The kind and the id of the definition.
    pub key: DefinitionKey,
    /// The reason.
    pub cause: Cause,
}

impl Catalogue {
    /// Every definition in service, the categories, the capabilities and the models, as texts.
    #[must_use]
    pub fn to_stored(&self) -> Vec<StoredDefinition> {
        let files: BTreeMap<&DefinitionKey, &Arc<Path>> = self.files.iter().map(|(file, key)| (key, file)).collect();
        let whole = |kind: DefinitionKind, (body, hash): (Arc<str>, ContentHash)| StoredDefinition {
            kind,
            id: kind.name().to_owned(),
            file: None,
            hash,
            body,
        };
        let agents = self.agents.iter().map(|(id, entry)| stored(id.as_str(), entry, &files));
        let workflows = self.workflows.iter().map(|(id, entry)| stored(id.as_str(), entry, &files));
        let teams = self.teams.iter().map(|(id, entry)| stored(id.as_str(), entry, &files));
        let categories: Vec<_> = self.categories.values().collect();
        let capabilities: Vec<_> = self.capabilities.values().collect();
        let others = [
            whole(DefinitionKind::Categories, canonical_body(&categories)),
            whole(DefinitionKind::Capabilities, canonical_body(&capabilities)),
            whole(DefinitionKind::Models, canonical_body(&*self.models)),
        ];
        agents.chain(workflows).chain(teams).chain(others).collect()
    }

    /// Rebuilds a catalogue from its texts, and returns those that this release cannot read.
    #[must_use]
    pub fn from_stored(stored: Vec<StoredDefinition>) -> (Self, Vec<UnreadableDefinition>) {
        let mut parts = CatalogueParts::default();
        let mut unreadable = Vec::new();
        for definition in stored {
            let key: DefinitionKey = (definition.kind, definition.id.clone());
            match parts.add_stored(&definition) {
                Ok(()) => parts.files.extend(definition.file.map(|file| (Arc::from(file), key))),
                Err(cause) => unreadable.push(UnreadableDefinition { key, cause }),
            }
        }
        (Self::new(parts), unreadable)
    }
}

fn stored<T: Definition>(id: &str, entry: &Entry<T>, files: &BTreeMap<&DefinitionKey, &Arc<Path>>) -> StoredDefinition {
    let key: DefinitionKey = (T::KIND, id.to_owned());
    let file = files.get(&key).map(|file| file.to_path_buf());
    StoredDefinition { kind: T::KIND, id: key.1, file, hash: entry.hash(), body: entry.body() }
}

impl CatalogueParts {
    fn add_stored(&mut self, definition: &StoredDefinition) -> Result<(), Cause> {
        let body = &*definition.body;
        match definition.kind {
            DefinitionKind::Agent => self.agents.push(Agent::from_body(body)?),
            DefinitionKind::Workflow => self.workflows.push(Workflow::from_body(body)?),
            DefinitionKind::Team => self.teams.push(Team::from_body(body)?),
            DefinitionKind::Categories => self.categories = parse_stored(body, definition.kind.as_str())?,
            DefinitionKind::Capabilities => self.capabilities = parse_stored(body, definition.kind.as_str())?,
            DefinitionKind::Models => self.models = parse_stored(body, definition.kind.as_str())?,
            DefinitionKind::Snippet | DefinitionKind::Unknown => {}
        }
        Ok(())
    }
}
