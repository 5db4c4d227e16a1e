//! `workflows/*.yaml` and `teams/*.yaml`.

use std::collections::BTreeMap;

use greenroom_protocol::Json;

use super::agent::{retry, seconds};
use super::field::{identifier, inputs};
use super::{
    Decoder, MapFields, amount, ids, json, list, name, one_of, parsed, positive, positive_u32, text, texts, values,
};
use crate::team::TeamSpec;
use crate::workflow::{ApprovalSpec, CompensateSpec, ForEachSpec, OnError, RunLimits, StepSpec, WorkflowSpec};
use crate::yaml::Node;

pub(crate) fn workflow(reader: &mut Decoder, node: &Node) -> Option<WorkflowSpec> {
    let mut fields = MapFields::of(reader, node, "a workflow")?;
    let workflow_id = fields.required(reader, "workflow_id", parsed);
    let name = fields.required(reader, "name", name);
    let description = fields.or_default(reader, "description", text);
    let version = fields.optional(reader, "version", text);
    let inputs = fields.or_default(reader, "inputs", inputs);
    let steps = fields.required(reader, "steps", steps);
    let outputs = fields.or_default(reader, "outputs", outputs);
    let final_output = fields.optional(reader, "final_output", json);
    let policies = fields.or_default(reader, "policies", texts);
    let limits = fields.or_default(reader, "limits", limits);
    let timeout = fields.optional(reader, "timeout", seconds);
    fields.finish(reader);
    Some(WorkflowSpec {
        workflow_id: workflow_id?,
        name: name?,
        description: description?,
        version: version?,
        inputs: inputs?,
        steps: steps?,
        outputs: outputs?,
        final_output: final_output?,
        policies: policies?,
        limits: limits?,
        timeout: timeout?,
    })
}

fn outputs(reader: &mut Decoder, node: &Node) -> Option<BTreeMap<String, Json>> {
    values(reader, node)
}

fn limits(reader: &mut Decoder, node: &Node) -> Option<RunLimits> {
    let mut fields = MapFields::of(reader, node, "a run's limits")?;
    let max_tokens = fields.optional(reader, "max_tokens", positive);
    let max_cost_usd = fields.optional(reader, "max_cost_usd", amount);
    fields.finish(reader);
    Some(RunLimits { max_tokens: max_tokens?, max_cost_usd: max_cost_usd? })
}

fn steps(reader: &mut Decoder, node: &Node) -> Option<Vec<StepSpec>> {
    list(reader, node, step)
}

fn step(reader: &mut Decoder, node: &Node) -> Option<StepSpec> {
    let mut fields = MapFields::of(reader, node, "a step")?;
    let id = fields.required(reader, "id", parsed);
    let agent = fields.optional(reader, "agent", parsed);
    let workflow = fields.optional(reader, "workflow", parsed);
    let team = fields.optional(reader, "team", parsed);
    let depends_on = fields.or_default(reader, "depends_on", ids);
    let inputs = fields.or_default(reader, "inputs", values);
    let outputs = fields.or_default(reader, "outputs", names);
    let parallel_with = fields.or_default(reader, "parallel_with", ids);
    let when = fields.optional(reader, "when", text);
    let for_each = fields.optional(reader, "for_each", for_each);
    let retry = fields.optional(reader, "retry", retry);
    let timeout = fields.optional(reader, "timeout", seconds);
    let approval = fields.optional(reader, "approval", approval);
    let compensate = fields.optional(reader, "compensate", compensate);
    fields.finish(reader);
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
        retry: retry?,
        timeout: timeout?,
        approval: approval?,
        compensate: compensate?,
    })
}

fn names(reader: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    list(reader, node, identifier)
}

fn for_each(reader: &mut Decoder, node: &Node) -> Option<ForEachSpec> {
    let mut fields = MapFields::of(reader, node, "a `for_each`")?;
    let items = fields.required(reader, "items", json);
    let max_concurrency = fields.optional(reader, "max_concurrency", positive_u32);
    let on_error = fields.or_default(reader, "on_error", on_error);
    fields.finish(reader);
    Some(ForEachSpec {
        items: items?,
        max_concurrency: max_concurrency?.unwrap_or(ForEachSpec::concurrency_default()),
        on_error: on_error?,
    })
}

fn on_error(reader: &mut Decoder, node: &Node) -> Option<OnError> {
    let all = [("fail", OnError::Fail), ("continue", OnError::Continue), ("compensate", OnError::Compensate)];
    one_of(reader, node, &all)
}

fn approval(reader: &mut Decoder, node: &Node) -> Option<ApprovalSpec> {
    let mut fields = MapFields::of(reader, node, "an approval")?;
    let prompt = fields.required(reader, "prompt", name);
    fields.finish(reader);
    Some(ApprovalSpec { prompt: prompt? })
}

fn compensate(reader: &mut Decoder, node: &Node) -> Option<CompensateSpec> {
    let mut fields = MapFields::of(reader, node, "a compensation")?;
    let agent = fields.required(reader, "agent", parsed);
    let inputs = fields.or_default(reader, "inputs", values);
    fields.finish(reader);
    Some(CompensateSpec { agent: agent?, inputs: inputs? })
}

pub(crate) fn team(reader: &mut Decoder, node: &Node) -> Option<TeamSpec> {
    let mut fields = MapFields::of(reader, node, "a team")?;
    let team_id = fields.required(reader, "team_id", parsed);
    let name = fields.required(reader, "name", name);
    let description = fields.or_default(reader, "description", text);
    let agents = fields.required(reader, "agents", ids);
    let workflows = fields.or_default(reader, "workflows", ids);
    let shared_context = fields.or_default(reader, "shared_context", values);
    let policies = fields.or_default(reader, "policies", texts);
    let limits = fields.or_default(reader, "limits", limits);
    fields.finish(reader);
    Some(TeamSpec {
        team_id: team_id?,
        name: name?,
        description: description?,
        agents: agents?,
        workflows: workflows?,
        shared_context: shared_context?,
        policies: policies?,
        limits: limits?,
    })
}
