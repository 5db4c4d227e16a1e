//! What of an [`Input`] is sent into the engine to be judged: nothing but what a decision can depend
//! on, which keeps the document under 512 bytes however much a definition or a user lists. What
//! explains a decision is shown the whole input.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::input::{Action, Input, Proven, UsageInput};
use super::read_set::{Part, Parts, Vocabulary};
use crate::identity::Names;

/// An input as it is sent.
#[derive(Serialize)]
pub(crate) struct Seen<'a> {
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<SeenAgent<'a>>,
    #[serde(skip_serializing_if = "Cut::is_empty")]
    bound: Cut<'a>,
    bytes: u64,
    hops: u32,
    policies: Cut<'a>,
    proven: Proven,
    speaker: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    usage: UsageInput,
    user: SeenUser<'a>,
}

#[derive(Serialize)]
struct SeenAgent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    category: &'a str,
    #[serde(skip_serializing_if = "Cut::is_empty")]
    capabilities: Cut<'a>,
}

#[derive(Serialize)]
struct SeenUser<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    roles: Cut<'a>,
    permissions: SeenPermissions<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u64>,
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
    None,
    Both(&'a Names, &'a Names),
    Without(&'a Names, &'a Names),
    Only(&'a Names, &'a str),
}

impl<'a> Cut<'a> {
    const fn to(names: &'a Names, asked: Option<&'a Names>) -> Self {
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

impl Serialize for Cut<'_> {
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
    pub(crate) fn seen<'a>(&'a self, vocabulary: &'a Vocabulary) -> Seen<'a> {
        let (user, reads) = (&self.user, vocabulary.reads.as_ref());
        let parts = reads.map_or(Parts::ALL, |reads| reads.parts(self));
        let categories = &user.permissions.allowed_categories;
        let asked = vocabulary.capabilities.as_ref();
        let capable = self.agent.as_ref().is_some_and(|agent| !Cut::to(&agent.capabilities, asked).is_empty());
        Seen {
            action: self.action,
            agent: self.agent.as_ref().map(|agent| SeenAgent {
                id: parts.of(Part::AgentId, agent.id.as_str()),
                category: agent.category.as_str(),
                capabilities: Cut::to(&agent.capabilities, asked),
            }),
            bound: match reads {
                // Nobody else may be bound: such an input is sent as it is, to be denied.
                Some(reads) if self.speaker == "agent" => Cut::Without(&self.bound, &reads.binds_target),
                Some(_) | None => Cut::All(&self.bound),
            },
            bytes: self.bytes,
            hops: self.hops,
            policies: reads
                .map_or(Cut::All(&self.policies), |reads| Cut::Without(&self.policies, &reads.binds_speaker)),
            proven: parts.cut(self.proven),
            speaker: &self.speaker,
            target: self.target.as_deref().and_then(|target| parts.of(Part::Target, target)),
            usage: self.usage,
            user: SeenUser {
                id: parts.of(Part::UserId, user.id.as_str()),
                tenant: parts.of(Part::Tenant, user.tenant.as_str()),
                roles: Cut::to(&user.roles, reads.map(|reads| &reads.roles)),
                permissions: SeenPermissions {
                    allowed_categories: match (&self.agent, reads) {
                        (Some(agent), _) => Cut::Only(categories, agent.category.as_str()),
                        (None, Some(_)) => Cut::None,
                        (None, None) => Cut::All(categories),
                    },
                    pii_access: user.permissions.pii_access && (capable || parts.has(Part::PiiAccess)),
                },
                rate_limit: parts.of(Part::RateLimit, user.rate_limit),
            },
        }
    }

    /// The bytes that are sent to be judged, into an engine whose policy reads these names.
    ///
    /// # Errors
    /// Never for an input that [`crate::Question::new`] made: it holds nothing that JSON lacks.
    pub fn as_sent(&self, vocabulary: &Vocabulary) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.seen(vocabulary))
    }
}
