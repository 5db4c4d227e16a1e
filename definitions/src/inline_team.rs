//! Teams that a request contains: read from a file, and checked as a team of the catalogue is. Their bounds are those of
//! the protocol.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use greenroom_protocol::request::InlineTeam;
use greenroom_protocol::{Cause, ContextKey, ErrorCode};

use crate::catalogue::Catalogue;
use crate::decode::{self, Decoder};
use crate::problem::{Location, Problem, Severity};
use crate::team::Team;
use crate::yaml;

/// Reads the definition of a team without an id: `name`, `agents` and `shared_context`.
///
/// # Errors
/// All problems of the text.
pub fn parse_inline_team(file: &Path, bytes: &[u8]) -> Result<InlineTeam, Vec<Problem>> {
    let file: Arc<Path> = Arc::from(file);
    let node = yaml::parse(bytes).map_err(|error| {
        vec![Problem {
            location: Location { file: file.clone(), line: error.at.line, column: error.at.column },
            severity: Severity::Error,
            kind: error.kind,
            found: error.found,
            expected: error.expected,
        }]
    })?;
    let mut decoder = Decoder::new(file);
    let team = decode::inline_team(&mut decoder, &node);
    // The references are checked with the catalogue of the pod that receives the request.
    let (problems, _references) = decoder.into_parts();
    team.filter(|_| problems.is_empty()).ok_or(problems)
}

impl Catalogue {
    /// Checks a team that a request contains, and makes it a team of this catalogue's agents.
    ///
    /// # Errors
    /// `payload_too_large`; `invalid_definition`, whose `details.problems` name every problem by its path in the
    /// request.
    pub fn inline_team(&self, team: &InlineTeam) -> Result<Team, Cause> {
        team.check_size()?;
        let mut problems = Vec::new();
        if team.name.trim().is_empty() {
            problems.push("team.name: the text is empty".to_owned());
        }
        if team.agents.is_empty() {
            problems.push("team.agents: the team has no agents".to_owned());
        }
        let mut members = BTreeSet::new();
        for (at, id) in team.agents.iter().enumerate() {
            match self.require_agent(id) {
                Ok(agent) if members.insert(agent.id()) => {}
                Ok(_) => problems.push(format!("team.agents[{at}]: `{id}` is duplicated")),
                Err(cause) => problems.push(format!("team.agents[{at}]: {}", cause.message)),
            }
        }
        for name in team.shared_context.keys() {
            if let Err(error) = ContextKey::new(name) {
                problems.push(format!("team.shared_context: {name:?} cannot be a key: {error}"));
            }
        }
        if problems.is_empty() {
            return Ok(Team::from_inline(team));
        }
        let details = serde_json::json!({ "problems": problems });
        Err(Cause::new(ErrorCode::InvalidDefinition, problems.join("; ")).with_details(details))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::agent::Agent;
    use crate::catalogue::CatalogueParts;

    fn catalogue() -> Catalogue {
        let agent = json!({
            "agent_id": "writer_001", "name": "Writer", "category": "business_ops", "description": "writes",
            "version": "1", "inputs": [], "outputs": [{ "name": "text", "type": "text" }],
            "implementation": { "runtime": "native", "handler": "native.test" },
        });
        let agents = vec![Agent::new(serde_json::from_value(agent).unwrap()).unwrap()];
        Catalogue::new(CatalogueParts { agents, ..CatalogueParts::default() })
    }

    fn problems(team: Json) -> Vec<String> {
        let cause = catalogue().inline_team(&serde_json::from_value(team).unwrap()).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidDefinition);
        serde_json::from_value(cause.details["problems"].clone()).unwrap()
    }

    #[test]
    fn a_team_of_a_request_is_a_team_whose_id_is_derived_from_its_content() {
        let inline: InlineTeam =
            serde_json::from_value(json!({ "name": "Crew", "agents": ["writer"], "shared_context": { "x": 1 } }))
                .unwrap();
        let team = catalogue().inline_team(&inline).unwrap();
        assert_eq!(*team.id(), inline.id());
        assert_eq!((&team.spec().agents, &team.spec().shared_context), (&inline.agents, &inline.shared_context));
        assert_eq!(Team::from_body(team.body()).unwrap(), team, "it is stored as any other");
    }

    #[test]
    fn every_problem_is_named_by_its_path() {
        assert_eq!(
            problems(json!({
                "name": " ", "agents": ["writer", "writer_001", "wirter"], "shared_context": { "a key": 1 },
            })),
            [
                "team.name: the text is empty",
                "team.agents[1]: `writer_001` is duplicated",
                "team.agents[2]: there is no agent `wirter`, did you mean `writer`?",
                "team.shared_context: \"a key\" cannot be a key: an id may have letters, digits, `_`, `-` and `.`, not ' '",
            ]
        );
        assert_eq!(problems(json!({ "name": "Crew", "agents": [] })), ["team.agents: the team has no agents"]);
    }

    #[test]
    fn a_file_is_read_with_the_lines_of_its_problems() {
        let file = Path::new("crew.yaml");
        let team = parse_inline_team(file, b"name: Crew\nagents: [writer]\nshared_context: { x: 1 }\n").unwrap();
        assert_eq!((team.name.as_str(), team.agents.len()), ("Crew", 1));
        let found = parse_inline_team(file, b"name: Crew\nteam_id: crew\nagents: writer\n").unwrap_err();
        let lines: Vec<u32> = found.iter().map(|problem| problem.location.line).collect();
        assert_eq!(lines, [3, 2], "{found:?}");
        assert!(parse_inline_team(file, b"name: [").is_err());
    }
}
