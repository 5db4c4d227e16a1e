//! What a team makes of the request that forms it: pure.

use std::collections::BTreeSet;

use greenroom_definitions::{Catalogue, Team};
use greenroom_protocol::request::{CallOptions, StartRun, StartTeam};
use greenroom_protocol::{AgentId, CallKey, ContentHash, Values};
use greenroom_rego::Grant;

/// The team's context at its beginning: what its definition shares, and over it what the caller adds.
pub(super) fn shared(team: &Team, added: &Values) -> Values {
    let mut context = team.spec().shared_context.clone();
    context.extend(added.iter().map(|(name, value)| (name.clone(), value.clone())));
    context
}

/// Its members, by their whole ids; one that the catalogue lacks cannot be called.
pub(super) fn members(team: &Team, catalogue: &Catalogue) -> BTreeSet<AgentId> {
    let found = team.spec().agents.iter().filter_map(|written| catalogue.agent(written));
    found.map(|agent| agent.id().clone()).collect()
}

/// The run that the team begins. A caller's idempotency key goes along as the key of this call; a
/// step's call needs none, since its request already names the run.
pub(super) fn run_of(team: &Team, start: StartTeam, context: Values, grant: &Grant) -> StartRun {
    let once = grant.idempotency().map(|idempotency| ContentHash::of(idempotency.key.as_str().as_bytes()));
    let key = once.and_then(|hash| CallKey::new(format!("team/{hash}")).ok());
    let cost_max = match (start.options.cost_max, team.spec().limits.cost_max()) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    StartRun {
        workflow: start.workflow,
        inputs: start.inputs,
        context,
        version: None,
        detach: start.detach,
        key,
        options: CallOptions { cost_max, ..start.options },
    }
}
