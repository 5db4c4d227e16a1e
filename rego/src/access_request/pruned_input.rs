//! Prunes an [`Input`] for the hot decision: only the fields and names that the policy reads are
//! serialized, which keeps the document within 512 bytes however much a definition or a user lists. The
//! explaining decision receives the whole input.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::input::{Action, FactFlags, Input, UsageInput};
use super::read_set::{CategoryReads, InputField, NameReads, PolicyReadSet};
use crate::identity::NameSet;

/// A view of an input that serializes only what the policy reads.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    query_limit: Option<u64>,
}

#[derive(Serialize)]
struct PrunedPermissions<'a> {
    #[serde(skip_serializing_if = "PrunedSet::is_empty")]
    allowed_categories: PrunedSet<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pii_access: bool,
}

/// A subset of a name set.
enum PrunedSet<'a> {
    All(&'a NameSet),
    None,
    Intersection(&'a NameSet, &'a NameSet),
    Difference(&'a NameSet, &'a NameSet),
    Single(&'a NameSet, &'a str),
}

impl<'a> PrunedSet<'a> {
    /// The names that the policy reads.
    const fn for_reads(names: &'a NameSet, reads: &'a NameReads) -> Self {
        match reads {
            NameReads::All => Self::All(names),
            NameReads::Only(reads) => Self::Intersection(names, reads),
            NameReads::Except(excluded) => Self::Difference(names, excluded),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::All(names) => names.is_empty(),
            Self::None => true,
            Self::Intersection(names, reads) => !reads.iter().any(|name| names.contains(name)),
            Self::Difference(names, excluded) => names.iter().all(|name| excluded.contains(name)),
            Self::Single(names, name) => !names.contains(name),
        }
    }
}

impl Serialize for PrunedSet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        let mut serialize_all = |names: &mut dyn Iterator<Item = &str>| {
            for name in names {
                members.serialize_entry(name, &1)?;
            }
            Ok(())
        };
        match self {
            Self::All(names) => serialize_all(&mut names.iter())?,
            Self::None => {}
            Self::Intersection(names, reads) => serialize_all(&mut reads.iter().filter(|name| names.contains(name)))?,
            Self::Difference(names, excluded) => {
                serialize_all(&mut names.iter().filter(|name| !excluded.contains(name)))?
            }
            Self::Single(names, name) => {
                serialize_all(&mut std::iter::once(*name).filter(|name| names.contains(name)))?
            }
        }
        members.end()
    }
}

impl Input {
    /// Prunes the input for the hot decision of a policy with this read set.
    pub(crate) fn pruned<'a>(&'a self, read_set: &'a PolicyReadSet) -> PrunedInput<'a> {
        let (user, fields) = (&self.user, read_set.fields(self));
        let categories = &user.permissions.allowed_categories;
        let has_read_capability = self
            .agent
            .as_ref()
            .is_some_and(|agent| !PrunedSet::for_reads(&agent.capabilities, &read_set.capabilities).is_empty());
        PrunedInput {
            action: self.action,
            agent: self.agent.as_ref().map(|agent| PrunedAgent {
                id: fields.select(InputField::AgentId, agent.id.as_str()),
                category: agent.category.as_str(),
                capabilities: PrunedSet::for_reads(&agent.capabilities, &read_set.capabilities),
            }),
            caller_policies: PrunedSet::for_reads(&self.caller_policies, &read_set.caller_policies),
            document_bytes: self.document_bytes,
            hops: self.hops,
            policies: PrunedSet::for_reads(&self.policies, &read_set.policies),
            facts: fields.select_facts(self.facts),
            caller: &self.caller,
            resource: self.resource.as_deref().and_then(|resource| fields.select(InputField::Resource, resource)),
            usage: UsageInput {
                requests: self.usage.requests.and_then(|requests| fields.select(InputField::RateLimit, requests)),
                queries: self.usage.queries.and_then(|queries| fields.select(InputField::QueryLimit, queries)),
                ..self.usage
            },
            user: PrunedUser {
                id: fields.select(InputField::UserId, user.id.as_str()),
                tenant: fields.select(InputField::Tenant, user.tenant.as_str()),
                roles: PrunedSet::for_reads(&user.roles, &read_set.roles),
                permissions: PrunedPermissions {
                    allowed_categories: match (read_set.categories, &self.agent) {
                        (CategoryReads::All, _) => PrunedSet::All(categories),
                        (CategoryReads::OfAgent, Some(agent)) => PrunedSet::Single(categories, agent.category.as_str()),
                        (CategoryReads::OfAgent, None) | (CategoryReads::None, _) => PrunedSet::None,
                    },
                    pii_access: user.permissions.pii_access
                        && (has_read_capability || fields.contains(InputField::PiiAccess)),
                },
                rate_limit: fields.select(InputField::RateLimit, user.rate_limit),
                query_limit: user.query_limit.and_then(|limit| fields.select(InputField::QueryLimit, limit)),
            },
        }
    }

    /// The JSON that the hot decision of a policy with this read set receives.
    ///
    /// # Errors
    /// Never for an input that [`crate::AccessRequest::new`] made: every value in it has a JSON form.
    pub fn to_pruned_json(&self, read_set: &PolicyReadSet) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.pruned(read_set))
    }
}
