//! What of an [`Input`] is sent into the engine to be judged: nothing but what a decision can depend
//! on, which keeps the document under 512 bytes however much a definition or a user lists. What
//! explains a decision is shown the whole input.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::input::{Action, FactFlags, Input, UsageInput};
use super::read_set::{InputField, InputFields, PolicyReadSet};
use crate::identity::NameSet;

/// An input as it is sent.
#[derive(Serialize)]
pub(crate) struct PrunedInput<'a> {
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<PrunedAgent<'a>>,
    caller: &'a str,
    #[serde(skip_serializing_if = "PrunedSet::is_empty")]
    caller_policies: PrunedSet<'a>,
    document_bytes: u64,
    facts: FactFlags,
    hops: u32,
    policies: PrunedSet<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    usage: UsageInput,
    user: PrunedUser<'a>,
}

#[derive(Serialize)]
struct PrunedAgent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    category: &'a str,
    #[serde(skip_serializing_if = "PrunedSet::is_empty")]
    capabilities: PrunedSet<'a>,
}

#[derive(Serialize)]
struct PrunedUser<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    roles: PrunedSet<'a>,
    permissions: PrunedPermissions<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u64>,
}

#[derive(Serialize)]
struct PrunedPermissions<'a> {
    #[serde(skip_serializing_if = "PrunedSet::is_empty")]
    allowed_categories: PrunedSet<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pii_access: bool,
}

/// A set without the names that nobody asks about.
enum PrunedSet<'a> {
    All(&'a NameSet),
    None,
    Both(&'a NameSet, &'a NameSet),
    Without(&'a NameSet, &'a NameSet),
    Only(&'a NameSet, &'a str),
}

impl<'a> PrunedSet<'a> {
    const fn to(names: &'a NameSet, asked: Option<&'a NameSet>) -> Self {
        match asked {
            Some(asked) => Self::Both(names, asked),
            None => Self::All(names),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::All(names) => names.is_empty(),
            Self::None => true,
            Self::Both(names, asked) => !asked.iter().any(|name| names.contains(name)),
            Self::Without(names, known) => names.iter().all(|name| known.contains(name)),
            Self::Only(names, name) => !names.contains(name),
        }
    }
}

impl Serialize for PrunedSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        let mut all = |names: &mut dyn Iterator<Item = &str>| {
            for name in names {
                members.serialize_entry(name, &1)?;
            }
            Ok(())
        };
        match self {
            Self::All(names) => all(&mut names.iter())?,
            Self::None => {}
            Self::Both(names, asked) => all(&mut asked.iter().filter(|name| names.contains(name)))?,
            Self::Without(names, known) => all(&mut names.iter().filter(|name| !known.contains(name)))?,
            Self::Only(names, name) => all(&mut std::iter::once(*name).filter(|name| names.contains(name)))?,
        }
        members.end()
    }
}

impl Input {
    /// The input as it is sent to be judged, into an engine whose policy reads these names.
    pub(crate) fn pruned<'a>(&'a self, vocabulary: &'a PolicyReadSet) -> PrunedInput<'a> {
        let (user, reads) = (&self.user, vocabulary.reads.as_ref());
        let parts = reads.map_or(InputFields::ALL, |reads| reads.parts(self));
        let categories = &user.permissions.allowed_categories;
        let asked = vocabulary.capabilities.as_ref();
        let capable = self.agent.as_ref().is_some_and(|agent| !PrunedSet::to(&agent.capabilities, asked).is_empty());
        PrunedInput {
            action: self.action,
            agent: self.agent.as_ref().map(|agent| PrunedAgent {
                id: parts.of(InputField::AgentId, agent.id.as_str()),
                category: agent.category.as_str(),
                capabilities: PrunedSet::to(&agent.capabilities, asked),
            }),
            caller_policies: match reads {
                // Nobody else may be bound: such an input is sent as it is, to be denied.
                Some(reads) if self.caller == "agent" => {
                    PrunedSet::Without(&self.caller_policies, &reads.binds_resource)
                }
                Some(_) | None => PrunedSet::All(&self.caller_policies),
            },
            document_bytes: self.document_bytes,
            hops: self.hops,
            policies: reads.map_or(PrunedSet::All(&self.policies), |reads| {
                PrunedSet::Without(&self.policies, &reads.binds_caller)
            }),
            facts: parts.cut(self.facts),
            caller: &self.caller,
            resource: self.resource.as_deref().and_then(|target| parts.of(InputField::Resource, target)),
            usage: self.usage,
            user: PrunedUser {
                id: parts.of(InputField::UserId, user.id.as_str()),
                tenant: parts.of(InputField::Tenant, user.tenant.as_str()),
                roles: PrunedSet::to(&user.roles, reads.map(|reads| &reads.roles)),
                permissions: PrunedPermissions {
                    allowed_categories: match (&self.agent, reads) {
                        (Some(agent), _) => PrunedSet::Only(categories, agent.category.as_str()),
                        (None, Some(_)) => PrunedSet::None,
                        (None, None) => PrunedSet::All(categories),
                    },
                    pii_access: user.permissions.pii_access && (capable || parts.has(InputField::PiiAccess)),
                },
                rate_limit: parts.of(InputField::RateLimit, user.rate_limit),
            },
        }
    }

    /// The bytes that are sent to be judged, into an engine whose policy reads these names.
    ///
    /// # Errors
    /// Never for an input that [`crate::Question::new`] made: it holds nothing that JSON lacks.
    pub fn to_pruned_json(&self, vocabulary: &PolicyReadSet) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.pruned(vocabulary))
    }
}
