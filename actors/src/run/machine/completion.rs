//! The end of a run, and its reply.

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, Json, Metadata, Reply, RunId, Status, Values, WrittenVersion};

use super::decide::DecisionBuilder;
use super::effect::Effect;
use super::state::{Phase, State, StepStatus};

impl DecisionBuilder<'_> {
    /// Ends the run with the collected outputs.
    pub(super) fn on_outputs_collected(&mut self, outputs: &Result<Values, Cause>) {
        if *self.next.phase() == Phase::Running && self.collecting_outputs {
            match outputs {
                Ok(outputs) => self.end(Ok(outputs.clone())),
                Err(cause) => self.stop(cause.clone()),
            }
        }
    }

    /// Ends the run; nothing follows it.
    pub(super) fn end(&mut self, result: Result<Values, Cause>) {
        let Some(reply) = self.reply(result) else { return };
        self.record(Entry::RunEnded { reply: Box::new(reply.clone()) });
        self.effects.push(Effect::Finish { reply: Box::new(reply) });
    }

    fn reply(&self, result: Result<Values, Cause>) -> Option<Reply> {
        let started = self.next.started()?;
        let usage = self.next.usage();
        let involved = match &started.team {
            Some(_) => usage.agents.iter().filter(|agent| started.members.contains(agent)).count(),
            None => usage.agents.len(),
        };
        let metadata = Metadata {
            agents_involved: u32::try_from(involved).unwrap_or(u32::MAX),
            duration_ms: self.elapsed_ms(self.next.started_at),
            policy_checks: started.checks.clone(),
            trace_id: started.trace.clone(),
            ..Metadata::from(usage.clone())
        };
        let (status, outputs, error) = match result {
            Ok(outputs) => (Status::Success, outputs, None),
            Err(cause) => {
                (Status::from_cause(&cause), Values::new(), Some(with_compensation_details(cause, &self.next)))
            }
        };
        Some(Reply {
            id: started.run.to_string(),
            status,
            outputs,
            error,
            metadata,
            protocol_version: WrittenVersion::OWN,
        })
    }
}

/// The reply of a run that is ended without being started or resumed.
pub(crate) fn terminated_reply(run: &RunId, state: &State, cause: Cause) -> Reply {
    let usage = state.usage();
    let metadata = Metadata {
        trace_id: state.started().and_then(|started| started.trace.clone()),
        ..Metadata::from(usage.clone())
    };
    Reply {
        id: run.to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata,
        protocol_version: WrittenVersion::OWN,
    }
}

/// Adds the compensated steps, and those whose compensation failed, to the details.
fn with_compensation_details(mut cause: Cause, state: &State) -> Cause {
    let named = |status: &StepStatus| -> Vec<Json> {
        let mut names = Vec::new();
        for (step, step_state) in state.step_states() {
            if step_state.status == *status {
                names.push(Json::String(step.to_string()));
            }
            let items = step_state.items.iter().flat_map(|items| items.iter()).filter(|(_, item)| *item == status);
            names.extend(items.map(|(index, _)| Json::String(format!("{step}[{index}]"))));
        }
        names
    };
    for (name, steps) in
        [("undone", named(&StepStatus::Compensated)), ("not_undone", named(&StepStatus::CompensationFailed))]
    {
        if steps.is_empty() {
            continue;
        }
        if cause.details.is_null() {
            cause.details = Json::Object(serde_json::Map::new());
        }
        if let Json::Object(members) = &mut cause.details {
            members.insert(name.into(), Json::Array(steps));
        }
    }
    cause
}
