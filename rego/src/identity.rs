//! Identity: the principal with roles, permissions and limits, and the caller at each hop.
//!
//! [`authenticator::IdentityProvider`], which the composition root implements, verifies credentials; no
//! credential is stored beyond it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use greenroom_protocol::{
    AgentId, ContentHash, MicroUsd, Period, PrincipalId, RunId, TeamId, Timestamp, UserId, WorkflowId,
};
use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod authenticated;
pub mod authenticator;
pub mod delegated_call;
pub mod entry_points;

use self::entry_points::EntryPoints;

/// A set of names that is cheap to clone. It is serialized as an object, `{"name": 1}`: a rule looks up
/// a name by its key, and `1` is shorter than `true` and equals no value of another type.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NameSet(Arc<BTreeSet<String>>);

impl NameSet {
    /// True if the name is in the set.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// True if the set has no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names of both sets.
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
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = NameSet;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a set of the form {\"name\": 1}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NameSet, A::Error> {
                let mut names = BTreeSet::new();
                while let Some((name, one)) = members.next_entry::<String, u8>()? {
                    if one != 1 {
                        let form = "a set has the form {\"name\": 1}";
                        return Err(A::Error::custom(format!("{form}, but the value of `{name}` is not 1")));
                    }
                    if let Some(name) = names.replace(name) {
                        return Err(A::Error::custom(format!("the set has the name `{name}` twice")));
                    }
                }
                Ok(NameSet(Arc::new(names)))
            }
        }
        deserializer.deserialize_map(Members)
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

/// The permissions that restrict or extend the roles of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// The categories whose agents an `agent_operator` may call.
    pub allowed_categories: NameSet,
    /// True if the user may process personal data.
    pub pii_access: bool,
}

/// The limits of usage in a period; `None` means that there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Money.
    pub usd: Option<MicroUsd>,
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// The period over which both are counted.
    pub period: Period,
}

/// A user as the configuration, or an identity provider, defines them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The issuer, the tenant and the user: whose runs, keys, budgets and audit entries they are.
    pub id: PrincipalId,
    /// The user's roles: `admin`, `agent_operator`, `approver`, `auditor`, `internal`.
    pub roles: NameSet,
    /// The permissions that restrict or extend the roles.
    pub permissions: Permissions,
    /// Maximum requests per hour that are no queries.
    pub rate_limit: u64,
    /// Maximum queries per hour.
    pub query_limit: u64,
    /// The usage limits of this user.
    pub limits: Limits,
    /// The usage limits of all users of the tenant together.
    pub tenant_limits: Limits,
    /// What the user's own requests may name; `None` if they may name anything.
    pub entry_points: Option<Arc<EntryPoints>>,
}

/// How the principal was authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// By the operating system, over the control socket or in the process.
    LocalUser,
    /// By a verified credential.
    Credential,
    /// By the recorded owner of the run that is resumed.
    RecordedOwner,
    /// By the delegation of another pod of the cluster.
    Delegation,
    /// Not at all: the configuration has a user for requests without a credential.
    None,
}

/// The caller at a hop. Every caller but a user is the callee of an earlier permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "caller", rename_all = "snake_case", deny_unknown_fields)]
pub enum Caller {
    /// A person or a program outside.
    User {
        /// The user's id.
        user: UserId,
    },
    /// A running workflow.
    Workflow {
        /// The run's id.
        run: RunId,
        /// The workflow that it executes.
        workflow: WorkflowId,
        /// The version that it is pinned to.
        version: ContentHash,
        /// The team that it runs for.
        team: Option<TeamId>,
    },
    /// An agent that executes.
    Agent {
        /// The agent's id.
        agent: AgentId,
        /// The version that executes.
        version: ContentHash,
    },
    /// A team that has been formed.
    Team {
        /// The team's id.
        team: TeamId,
        /// The run that it was formed for.
        run: RunId,
        /// The version of its definition.
        version: ContentHash,
    },
    /// The holder of a permit without a callee, such as that of a query. Every policy denies it.
    None,
}

impl Caller {
    /// The kind of the caller in the policy input.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::User { .. } => "user",
            Self::Workflow { .. } => "workflow",
            Self::Agent { .. } => "agent",
            Self::Team { .. } => "team",
            Self::None => "none",
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
            Self::None => f.write_str("none"),
        }
    }
}

/// A principal, how it was authenticated, and when it was read from the identity provider.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedPrincipal {
    pub(crate) principal: Arc<Principal>,
    pub(crate) auth_method: AuthMethod,
    pub(crate) resolved_at: Timestamp,
}
