//! How a request names a team: by its id in the catalogue, or by a definition that the request contains.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::hash::ContentHash;
use crate::id::{AgentId, TeamId};
use crate::limits::{INLINE_TEAM_AGENTS_MAX, INLINE_TEAM_BYTES_MAX};
use crate::value::Values;

/// A team of the catalogue, or one that the request contains.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TeamRef {
    /// A team of the catalogue.
    Id(TeamId),
    /// A team that exists for this request only.
    Inline(Box<InlineTeam>),
}

/// A team that a request contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineTeam {
    /// Its display name.
    pub name: String,
    /// Its members, each by its id, with or without its `_NNN` ordinal.
    pub agents: Vec<AgentId>,
    /// The initial values of its shared context, by name.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub shared_context: Values,
}

impl TeamRef {
    /// The id of the team. That of a team which the request contains is derived from its content.
    #[must_use]
    pub fn id(&self) -> TeamId {
        match self {
            Self::Id(id) => id.clone(),
            Self::Inline(team) => team.id(),
        }
    }
}

impl InlineTeam {
    /// The id, which teams of equal content share.
    #[must_use]
    pub fn id(&self) -> TeamId {
        TeamId::for_content(&self.hash())
    }

    /// The hash of the definition, under which it is stored.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::from_content(self.to_json().as_bytes())
    }

    /// Checks the bounds of the definition.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] if it has too many bytes or members.
    pub fn check_size(&self) -> Result<(), Cause> {
        let (bytes, agents) = (self.to_json().len(), self.agents.len());
        if bytes > INLINE_TEAM_BYTES_MAX {
            let message = format!("`team` has {bytes} bytes, at most {INLINE_TEAM_BYTES_MAX} are allowed");
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        if agents > INLINE_TEAM_AGENTS_MAX {
            let message = format!("`team.agents` has {agents} members, at most {INLINE_TEAM_AGENTS_MAX} are allowed");
            return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
        }
        Ok(())
    }

    /// The canonical JSON of the definition: members are in the order of the struct, and maps in that of their keys.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Reads a text as an id and a map as a definition, so that an error names the member of the definition.
impl<'de> Deserialize<'de> for TeamRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TeamRefVisitor)
    }
}

struct TeamRefVisitor;

impl<'de> Visitor<'de> for TeamRefVisitor {
    type Value = TeamRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the id of a team, or its definition with `name` and `agents`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TeamRef, E> {
        TeamId::new(text).map(TeamRef::Id).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TeamRef, A::Error> {
        let team = InlineTeam::deserialize(MapAccessDeserializer::new(map));
        team.map(TeamRef::from).map_err(|error| A::Error::custom(format!("`team`: {error}")))
    }
}

impl From<TeamId> for TeamRef {
    fn from(id: TeamId) -> Self {
        Self::Id(id)
    }
}

impl From<InlineTeam> for TeamRef {
    fn from(team: InlineTeam) -> Self {
        Self::Inline(Box::new(team))
    }
}

impl fmt::Display for TeamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id().as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::Request;

    fn start(team: serde_json::Value) -> Result<TeamRef, Cause> {
        let request = Request::from_json(json!({ "verb": "start_team", "team": team, "workflow": "w" }))?;
        request.check_outside()?;
        let Request::StartTeam(start) = request else { panic!("a team") };
        Ok(start.team)
    }

    #[test]
    fn a_team_is_named_by_its_id_or_by_its_definition() {
        assert_eq!(start(json!("crew")).map(|team| team.id().to_string()), Ok("crew".to_owned()));
        let inline = json!({ "name": "Crew", "agents": ["a", "b"], "shared_context": { "x": 1 } });
        let (one, same) = (start(inline.clone()).unwrap(), start(inline).unwrap());
        assert_eq!(one.id(), same.id(), "the id is derived from the content");
        let TeamRef::Inline(team) = &one else { panic!("{one:?}") };
        assert_eq!(one.id().content_hash(), Some(team.hash()), "and its definition is found by the id");
        assert_eq!(TeamId::new("crew").unwrap().content_hash(), None);
        let other = start(json!({ "name": "Crew", "agents": ["a"] })).unwrap();
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn a_definition_with_an_unknown_member_or_above_its_bounds_is_refused() {
        let unknown = start(json!({ "name": "Crew", "agents": ["a"], "policies": ["none"] }));
        let cause = unknown.unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidRequest);
        assert!(cause.message.contains("`team`: unknown field `policies`"), "{cause}");
        let agents: Vec<String> = (0..=INLINE_TEAM_AGENTS_MAX).map(|number| format!("a{number}")).collect();
        let many = start(json!({ "name": "Crew", "agents": agents }));
        assert_eq!(many.map_err(|cause| cause.code), Err(ErrorCode::PayloadTooLarge));
        let text = "x".repeat(INLINE_TEAM_BYTES_MAX);
        let large = start(json!({ "name": "Crew", "agents": ["a"], "shared_context": { "text": text } }));
        assert_eq!(large.map_err(|cause| cause.code), Err(ErrorCode::PayloadTooLarge));
    }
}
