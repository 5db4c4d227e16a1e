//! `workflows/*.yaml` and `teams/*.yaml`.

use std::collections::BTreeMap;

use greenroom_protocol::Json;
use greenroom_protocol::request::InlineTeam;

use super::agent::{retry, seconds, seconds_up_to};
use super::field::{identifier, inputs};
use super::references::{agent_id, agent_ids, policies, team_id, workflow_id, workflow_ids};
use super::version::version;
use super::{Decoder, MapFields, ids, json, list, money, name, one_of, parsed, positive, positive_u32, text, values};
use crate::team::TeamSpec;
use crate::workflow::{
    ApprovalSpec, CompensateSpec, ForEachSpec, OnError, RunLimits, StepSpec, WaitForSpec, WorkflowSpec,
};
use crate::yaml::Node;

/// The longest timeout of an approval, and of a wait, in seconds: a year.
const WAIT_SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Decodes a workflow. As with an agent, a member that no other check depends on may be invalid.
pub(crate) fn workflow(decoder: &mut Decoder, node: &Node) -> Option<WorkflowSpec> {
    let mut fields = MapFields::new(decoder, node, "a workflow")?;
    let workflow_id = fields.required(decoder, "workflow_id", parsed);
    let name = fields.required(decoder, "name", name);
    let description = fields.or_default(decoder, "description", text);
    let version = fields.optional(decoder, "version", version);
    let inputs = fields.or_default(decoder, "inputs", inputs);
    let steps = fields.required(decoder, "steps", steps);
    let outputs = fields.or_default(decoder, "outputs", outputs);
    let final_output = fields.optional(decoder, "final_output", json);
    let policies = fields.or_default(decoder, "policies", policies);
    let limits = fields.or_default(decoder, "limits", limits);
    let timeout = fields.optional(decoder, "timeout", seconds);
    let compensation_timeout = fields.optional(decoder, "compensation_timeout", seconds);
    fields.finish(decoder);
    Some(WorkflowSpec {
        workflow_id: workflow_id?,
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        version: version.flatten(),
        inputs: inputs?,
        steps: steps?,
        outputs: outputs?,
        final_output: final_output?,
        policies: policies.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        timeout: timeout.flatten(),
        compensation_timeout: compensation_timeout.flatten(),
    })
}

fn outputs(decoder: &mut Decoder, node: &Node) -> Option<BTreeMap<String, Json>> {
    values(decoder, node)
}

fn limits(decoder: &mut Decoder, node: &Node) -> Option<RunLimits> {
    let mut fields = MapFields::new(decoder, node, "a run's limits")?;
    let max_tokens = fields.optional(decoder, "max_tokens", positive);
    let max_cost_usd = fields.optional(decoder, "max_cost_usd", money);
    fields.finish(decoder);
    Some(RunLimits { max_tokens: max_tokens?, max_cost_usd: max_cost_usd? })
}

fn steps(decoder: &mut Decoder, node: &Node) -> Option<Vec<StepSpec>> {
    list(decoder, node, step)
}

fn step(decoder: &mut Decoder, node: &Node) -> Option<StepSpec> {
    let mut fields = MapFields::new(decoder, node, "a step")?;
    let id = fields.required(decoder, "id", parsed);
    let agent = fields.optional(decoder, "agent", agent_id);
    let workflow = fields.optional(decoder, "workflow", workflow_id);
    let team = fields.optional(decoder, "team", team_id);
    let depends_on = fields.or_default(decoder, "depends_on", ids);
    let inputs = fields.or_default(decoder, "inputs", values);
    let outputs = fields.or_default(decoder, "outputs", names);
    let parallel_with = fields.or_default(decoder, "parallel_with", ids);
    let when = fields.optional(decoder, "when", text);
    let for_each = fields.optional(decoder, "for_each", for_each);
    let retry = fields.optional(decoder, "retry", retry);
    let timeout = fields.optional(decoder, "timeout", seconds);
    let approval = fields.optional(decoder, "approval", approval);
    let wait_for = fields.optional(decoder, "wait_for", wait_for);
    let compensate = fields.optional(decoder, "compensate", compensate);
    fields.finish(decoder);
    Some(StepSpec {
        id: id?,
        agent: agent?,
        workflow: workflow?,
        team: team?,
        depends_on: depends_on?,
        inputs: inputs?,
        outputs: outputs?,
        parallel_with: parallel_with?,
        when: when?,
        for_each: for_each?,
        retry: retry.flatten(),
        timeout: timeout.flatten(),
        approval: approval?,
        wait_for: wait_for?,
        compensate: compensate?,
    })
}

fn names(decoder: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(decoder, node, identifier)
}

fn for_each(decoder: &mut Decoder, node: &Node) -> Option<ForEachSpec> {
    let mut fields = MapFields::new(decoder, node, "a `for_each`")?;
    let items = fields.required(decoder, "items", json);
    let max_concurrency = fields.optional(decoder, "max_concurrency", positive_u32);
    let on_error = fields.or_default(decoder, "on_error", on_error);
    fields.finish(decoder);
    Some(ForEachSpec {
        items: items?,
        max_concurrency: max_concurrency?.unwrap_or(ForEachSpec::concurrency_default()),
        on_error: on_error?,
    })
}

fn on_error(decoder: &mut Decoder, node: &Node) -> Option<OnError> {
    let all = [("fail", OnError::Fail), ("continue", OnError::Continue), ("compensate", OnError::Compensate)];
    one_of(decoder, node, &all)
}

fn approval(decoder: &mut Decoder, node: &Node) -> Option<ApprovalSpec> {
    let mut fields = MapFields::new(decoder, node, "an approval")?;
    let prompt = fields.required(decoder, "prompt", name);
    let timeout = fields.optional(decoder, "timeout", |decoder, node| seconds_up_to(decoder, node, WAIT_SECONDS_MAX));
    fields.finish(decoder);
    Some(ApprovalSpec { prompt: prompt?, timeout: timeout.flatten() })
}

fn wait_for(decoder: &mut Decoder, node: &Node) -> Option<WaitForSpec> {
    let mut fields = MapFields::new(decoder, node, "a `wait_for`")?;
    let context = fields.optional(decoder, "context", parsed);
    let event = fields.optional(decoder, "event", parsed);
    let timeout = fields.optional(decoder, "timeout", |decoder, node| seconds_up_to(decoder, node, WAIT_SECONDS_MAX));
    fields.finish(decoder);
    Some(WaitForSpec { context: context?, event: event?, timeout: timeout.flatten() })
}

fn compensate(decoder: &mut Decoder, node: &Node) -> Option<CompensateSpec> {
    let mut fields = MapFields::new(decoder, node, "a compensation")?;
    let agent = fields.required(decoder, "agent", agent_id);
    let inputs = fields.or_default(decoder, "inputs", values);
    fields.finish(decoder);
    Some(CompensateSpec { agent: agent?, inputs: inputs? })
}

pub(crate) fn team(decoder: &mut Decoder, node: &Node) -> Option<TeamSpec> {
    let mut fields = MapFields::new(decoder, node, "a team")?;
    let team_id = fields.required(decoder, "team_id", parsed);
    let name = fields.required(decoder, "name", name);
    let description = fields.or_default(decoder, "description", text);
    let agents = fields.required(decoder, "agents", agent_ids);
    let workflows = fields.or_default(decoder, "workflows", workflow_ids);
    let shared_context = fields.or_default(decoder, "shared_context", values);
    let policies = fields.or_default(decoder, "policies", policies);
    let limits = fields.or_default(decoder, "limits", limits);
    fields.finish(decoder);
    Some(TeamSpec {
        team_id: team_id?,
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        agents: agents?,
        workflows: workflows?,
        shared_context: shared_context.unwrap_or_default(),
        policies: policies.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
    })
}

/// Decodes a team that a request contains.
pub(crate) fn inline_team(decoder: &mut Decoder, node: &Node) -> Option<InlineTeam> {
    let mut fields = MapFields::new(decoder, node, "a team without an id")?;
    let name = fields.required(decoder, "name", name);
    let agents = fields.required(decoder, "agents", agent_ids);
    let shared_context = fields.or_default(decoder, "shared_context", values);
    fields.finish(decoder);
    Some(InlineTeam { name: name?, agents: agents?, shared_context: shared_context? })
}
