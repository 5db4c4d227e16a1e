//! Derives context, members and run of a team from the request that forms it: pure.

use std::collections::BTreeSet;

use greenroom_definitions::{Catalogue, Team};
use greenroom_protocol::request::{StartRun, StartTeam};
use greenroom_protocol::{AgentId, SpendingLimits, Values};

/// The initial context of a team: that of its definition, overridden by that of the caller.
pub(super) fn team_context(team: &Team, added: &Values) -> Values {
    let mut context = team.spec().shared_context.clone();
    context.extend(added.iter().map(|(name, value)| (name.clone(), value.clone())));
    context
}

/// The full ids of the members; a member that is not in the catalogue is left out.
pub(super) fn member_ids(team: &Team, catalogue: &Catalogue) -> BTreeSet<AgentId> {
    team.spec().agents.iter().filter_map(|agent_id| catalogue.full_agent_id(agent_id)).cloned().collect()
}

/// The limits of the team on the spending of its run.
pub(super) fn spending_limits(team: &Team) -> SpendingLimits {
    let limits = &team.spec().limits;
    SpendingLimits { cost_max: limits.cost_max(), tokens_max: limits.max_tokens }
}

/// The request for the team's run, which has the effect of the request for the team.
pub(super) fn run_request(start: StartTeam, context: Values) -> StartRun {
    StartRun {
        workflow: start.workflow,
        inputs: start.inputs,
        context,
        version: start.workflow_version,
        detach: start.detach,
        key: None,
        options: start.options,
    }
}
