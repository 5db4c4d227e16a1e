//! Who asks: the user with roles, permissions and limits, and who speaks for them at a hop.
//!
//! How somebody proves who they are is the affair of [`authenticator::Identities`], which the
//! composition root implements; a credential is never kept past that point.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use greenroom_protocol::{
    AgentId, ContentHash, MicroUsd, Period, RunId, TeamId, TenantId, Timestamp, UserId, WorkflowId,
};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod authenticated;
pub mod authenticator;

/// A set of names that is cheap to hand on. Rego sees it as an object, `{"name": 1}`: a rule finds a
/// name by its key, and `1` is shorter than `true` and compares equal to nothing else.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NameSet(Arc<BTreeSet<String>>);

impl NameSet {
    /// True if the name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in the order of the alphabet.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (_, true) => self.clone(),
            (true, false) => other.clone(),
            (false, false) => self.iter().chain(other.iter()).collect(),
        }
    }
}

impl<S: Into<String>> FromIterator<S> for NameSet {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).collect()))
    }
}

impl fmt::Debug for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for NameSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(self.0.len()))?;
        for name in self.iter() {
            members.serialize_entry(name, &1)?;
        }
        members.end()
    }
}

impl<'de> Deserialize<'de> for NameSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = std::collections::BTreeMap::<String, u8>::deserialize(deserializer)?;
        match members.iter().find(|(_, one)| **one != 1) {
            Some((name, _)) => Err(D::Error::custom(format!("a set is written {{\"name\": 1}}, `{name}` is not 1"))),
            None => Ok(members.into_keys().collect()),
        }
    }
}

impl JsonSchema for NameSet {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": {"type": "integer"}})
    }
}

/// What the roles of a user are narrowed by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// The categories whose agents an `agent_operator` may call.
    pub allowed_categories: NameSet,
    /// May work with personal data.
    pub pii_access: bool,
}

/// What may be spent in a period; `None` means that there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Money.
    pub usd: Option<MicroUsd>,
    /// Tokens, read and written together.
    pub tokens: Option<u64>,
    /// Over which time both are counted.
    pub period: Period,
}

/// A user as the configuration, or an identity provider, knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// On whose account.
    pub tenant: TenantId,
    /// Who.
    pub user: UserId,
    /// What they are here: `admin`, `agent_operator`, `approver`, `auditor`, `internal`.
    pub roles: NameSet,
    /// What narrows the roles.
    pub permissions: Permissions,
    /// Requests an hour.
    pub rate_limit: u64,
    /// What this user may spend.
    pub limits: Limits,
    /// What all users of the tenant may spend together.
    pub tenant_limits: Limits,
}

/// How it is known that a user is who they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// The operating system says so.
    LocalUser,
    /// A credential was verified.
    Credential,
    /// The platform wrote down who owns the run that is taken up again.
    RecordedOwner,
    /// It is not: the configuration has a user for those who show nothing.
    None,
}

/// Who speaks at a hop. What speaks besides a user was called on stage by a permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person or a program outside.
    User {
        /// Who.
        user: UserId,
    },
    /// A running workflow.
    Workflow {
        /// The run.
        run: RunId,
        /// What it runs.
        workflow: WorkflowId,
        /// The version that it is pinned to.
        version: ContentHash,
        /// The team that it runs for.
        team: Option<TeamId>,
    },
    /// An agent that executes.
    Agent {
        /// Which.
        agent: AgentId,
        /// The version that executes.
        version: ContentHash,
    },
    /// A team that has been formed.
    Team {
        /// Which.
        team: TeamId,
        /// The run that it was formed for.
        run: RunId,
        /// The version of its definition.
        version: ContentHash,
    },
    /// The holder of a permit that called nobody on stage, such as one to read a list. No rule lets
    /// it do anything.
    None,
}

impl Caller {
    /// The kind, as Rego sees it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::Workflow { .. } => "workflow",
            Self::Agent { .. } => "agent",
            Self::Team { .. } => "team",
            Self::None => "nobody",
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { user } => write!(f, "user:{user}"),
            Self::Workflow { run, workflow, .. } => write!(f, "workflow:{workflow}/{run}"),
            Self::Agent { agent, .. } => write!(f, "agent:{agent}"),
            Self::Team { team, run, .. } => write!(f, "team:{team}/{run}"),
            Self::None => f.write_str("nobody"),
        }
    }
}

/// A principal as it was read at one moment.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedPrincipal {
    pub(crate) principal: Arc<Principal>,
    pub(crate) auth_method: AuthMethod,
    pub(crate) resolved_at: Timestamp,
}
