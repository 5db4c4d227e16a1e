//! A team: agents that share a context while they run a workflow together.

use std::sync::Arc;

use greenroom_protocol::request::InlineTeam;
use greenroom_protocol::{Cause, ContentHash, TeamId};

use crate::canonical::{canonical_body, parse_stored};
use crate::spec::workflow::RunLimits;

pub use crate::spec::team::TeamSpec;

/// A team of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    spec: TeamSpec,
    body: Arc<str>,
    hash: ContentHash,
}

impl Team {
    /// Creates a team from its definition.
    #[must_use]
    pub fn new(spec: TeamSpec) -> Self {
        let (body, hash) = canonical_body(&spec);
        Self { spec, body, hash }
    }

    /// The team that a request contains. It may run any workflow, and has no policies and limits of its own.
    #[must_use]
    pub fn from_inline(team: &InlineTeam) -> Self {
        Self::new(TeamSpec {
            team_id: team.id(),
            name: team.name.clone(),
            description: String::new(),
            agents: team.agents.clone(),
            workflows: Vec::new(),
            shared_context: team.shared_context.clone(),
            policies: Vec::new(),
            limits: RunLimits::default(),
        })
    }

    /// Rebuilds a team from the stored definition that a request contained.
    ///
    /// # Errors
    /// `internal` if it is no such definition.
    pub fn from_inline_body(body: &str) -> Result<Self, Cause> {
        Ok(Self::from_inline(&parse_stored(body, "team of a request")?))
    }

    /// Rebuilds a team from its stored body.
    ///
    /// # Errors
    /// `internal` if the body was not produced by [`Team::body`].
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Ok(Self::new(parse_stored(body, "team")?))
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &TeamId {
        &self.spec.team_id
    }

    /// The definition as written.
    #[must_use]
    pub const fn spec(&self) -> &TeamSpec {
        &self.spec
    }

    /// The canonical JSON that is hashed and stored.
    #[must_use]
    pub const fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// The hash of the body: its version.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }
}
