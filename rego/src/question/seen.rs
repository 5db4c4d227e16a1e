//! What of an [`Input`] is sent into the engine: sets are cut to the names that a decision can
//! depend on, which keeps the document under 512 bytes however much a definition or a user lists.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::input::{Action, Input, Proven, UsageInput};
use crate::identity::Names;

/// The names that a bundle says its policy reads. A bundle that says nothing is sent everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// The capabilities that rules read; `None` for all.
    pub capabilities: Option<Names>,
}

/// An input as it is sent.
#[derive(Serialize)]
pub(crate) struct Seen<'a> {
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<SeenAgent<'a>>,
    bound: &'a Names,
    bytes: u64,
    hops: u32,
    policies: &'a Names,
    proven: Proven,
    speaker: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    usage: UsageInput,
    user: SeenUser<'a>,
}

#[derive(Serialize)]
struct SeenAgent<'a> {
    id: &'a str,
    category: &'a str,
    capabilities: Cut<'a>,
}

#[derive(Serialize)]
struct SeenUser<'a> {
    id: &'a str,
    tenant: &'a str,
    roles: &'a Names,
    permissions: SeenPermissions<'a>,
    rate_limit: u64,
}

#[derive(Serialize)]
struct SeenPermissions<'a> {
    #[serde(skip_serializing_if = "Cut::is_empty")]
    allowed_categories: Cut<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pii_access: bool,
}

/// A set without the names that nobody asks about.
enum Cut<'a> {
    All(&'a Names),
    Both(&'a Names, &'a Names),
    Only(&'a Names, &'a str),
}

impl Cut<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::All(names) => names.is_empty(),
            Self::Both(names, asked) => !asked.iter().any(|name| names.contains(name)),
            Self::Only(names, name) => !names.contains(name),
        }
    }
}

impl Serialize for Cut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        match self {
            Self::All(names) => names.iter().try_for_each(|name| members.serialize_entry(name, &1))?,
            Self::Both(names, asked) => asked
                .iter()
                .filter(|name| names.contains(name))
                .try_for_each(|name| members.serialize_entry(name, &1))?,
            Self::Only(names, name) => {
                if names.contains(name) {
                    members.serialize_entry(name, &1)?;
                }
            }
        }
        members.end()
    }
}

impl Input {
    /// The input as it is sent into an engine whose policy reads these names.
    pub(crate) fn seen<'a>(&'a self, vocabulary: &'a Vocabulary) -> Seen<'a> {
        let user = &self.user;
        let categories = &user.permissions.allowed_categories;
        Seen {
            action: self.action,
            agent: self.agent.as_ref().map(|agent| SeenAgent {
                id: agent.id.as_str(),
                category: agent.category.as_str(),
                capabilities: match &vocabulary.capabilities {
                    Some(asked) => Cut::Both(&agent.capabilities, asked),
                    None => Cut::All(&agent.capabilities),
                },
            }),
            bound: &self.bound,
            bytes: self.bytes,
            hops: self.hops,
            policies: &self.policies,
            proven: self.proven,
            speaker: &self.speaker,
            target: self.target.as_deref(),
            usage: self.usage,
            user: SeenUser {
                id: user.id.as_str(),
                tenant: user.tenant.as_str(),
                roles: &user.roles,
                permissions: SeenPermissions {
                    allowed_categories: match &self.agent {
                        Some(agent) => Cut::Only(categories, agent.category.as_str()),
                        None => Cut::All(categories),
                    },
                    pii_access: user.permissions.pii_access,
                },
                rate_limit: user.rate_limit,
            },
        }
    }

    /// The bytes that are sent into an engine whose policy reads these names.
    ///
    /// # Errors
    /// Never for an input that [`crate::Question::new`] made: it holds nothing that JSON lacks.
    pub fn as_sent(&self, vocabulary: &Vocabulary) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.seen(vocabulary))
    }
}
