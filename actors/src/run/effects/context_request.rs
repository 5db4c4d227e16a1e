//! The requests of a run to the shared context of its team. The run that the team was formed for has the context, so a
//! team that is being restarted does not delay them.

use greenroom_definitions::Agent;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{ContextChange, ContextRead, ContextWrite};
use greenroom_protocol::{CallKey, Cause, ContextKey, Json, Request, Values};
use greenroom_rego::NameSet;

use super::{Call, EffectContext, ProvidedValues, outputs_of};
use crate::run::offload::offload_if_large;

impl EffectContext {
    /// Merges the team's shared context over the context with which the run started.
    pub(in crate::run) async fn refresh_context(
        &self,
        context: &mut Values,
        call: &CallKey,
        attempt: u32,
    ) -> Result<Usage, Cause> {
        let mut usage = Usage::default();
        let Some(run) = self.started.team_run.clone() else { return Ok(usage) };
        let read = Request::ContextRead(ContextRead { run, keys: Vec::new() });
        let outputs =
            self.issue_to_context(&call.child("context"), attempt, read, &NameSet::default(), &mut usage).await?;
        context.extend(outputs);
        Ok(usage)
    }

    /// One value of the team's shared context; none if it has no value.
    pub(super) async fn read_context_key(
        &self,
        key: &ContextKey,
        call: &CallKey,
        attempt: u32,
        usage: &mut Usage,
    ) -> Result<Option<Json>, Cause> {
        let Some(run) = self.started.team_run.clone() else { return Ok(None) };
        let read = Request::ContextRead(ContextRead { run, keys: vec![key.clone()] });
        let mut values = self.issue_to_context(call, attempt, read, &NameSet::default(), usage).await?;
        Ok(values.remove(key.as_str()))
    }

    /// The outputs that a member provides to its team: the output named like the key, or else the first output, unless its
    /// handler has written the key itself in this call. The journal has that, so a step that is repeated after a crash
    /// keeps what its handler wrote before. Each write is permitted and audited by itself; the run of the team records the
    /// values together with the end of the step. If a run above this one has the context, it has recorded each value once
    /// its write is permitted, and nothing is returned: a step that is repeated after a crash writes the same keys again.
    pub(super) async fn permit_provided(
        &self,
        call: &Call,
        agent: &Agent,
        outputs: &Values,
        usage: &mut Usage,
    ) -> Result<ProvidedValues, Cause> {
        let mut provided = ProvidedValues::new();
        let Some(team_run) = self.started.team_run.as_ref().filter(|_| self.started.members.contains(agent.id()))
        else {
            return Ok(provided);
        };
        // The run writes what the agent provides, so the agent's policies bind the write.
        let policies: NameSet = agent.spec().policies.iter().collect();
        let is_written =
            |key: &ContextKey| call.team_context.as_ref().is_some_and(|changes| changes.is_written_by(&call.call, key));
        for (key, value) in team_outputs(agent, outputs, is_written) {
            let value = offload_if_large(key.as_str(), value, self.artifacts()).await?;
            let write_key = call.call.child(key.as_str());
            let (run, change) = (team_run.clone(), ContextChange::Put(value.clone()));
            let write = ContextWrite { run, key: key.clone(), expect: None, change, ttl_ms: None };
            self.issue_to_context(&write_key, call.attempt, Request::ContextWrite(write), &policies, usage).await?;
            if *team_run == self.started.run {
                provided.insert(key, value);
            }
        }
        Ok(provided)
    }

    async fn issue_to_context(
        &self,
        key: &CallKey,
        attempt: u32,
        request: Request,
        policies: &NameSet,
        usage: &mut Usage,
    ) -> Result<Values, Cause> {
        let request = self.grant.issue_request_for(key.request_id(attempt), request, policies);
        let reply = self.env.pipeline.handle(request).await;
        usage.add(&reply.usage());
        outputs_of(reply)
    }
}

fn team_outputs(agent: &Agent, outputs: &Values, is_written: impl Fn(&ContextKey) -> bool) -> ProvidedValues {
    let first = agent.spec().outputs.first().and_then(|field| outputs.get(&field.name));
    let of_key = |key: &ContextKey| {
        let value = match outputs.get(key.as_str()) {
            Some(named) => named,
            None if is_written(key) => return None,
            None => first?,
        };
        Some((key.clone(), value.clone()))
    };
    agent.spec().collaboration.provides_to_team.iter().filter_map(of_key).collect()
}
