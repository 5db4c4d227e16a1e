//! The end of a run, and the reply that its journal keeps.

use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, Json, Metadata, Reply, RunId, Status, Values};

use super::decide::DecisionBuilder;
use super::effect::Effect;
use super::state::{Phase, State, StepStatus};

impl DecisionBuilder<'_> {
    /// Ends the run with the outputs that were put together.
    pub(super) fn gathered(&mut self, outputs: &Result<Values, Cause>) {
        if *self.next.phase() == Phase::Running && self.gathering {
            match outputs {
                Ok(outputs) => self.end(Ok(outputs.clone())),
                Err(cause) => self.stop(cause.clone()),
            }
        }
    }

    /// Ends the run; nothing follows.
    pub(super) fn end(&mut self, ending: Result<Values, Cause>) {
        let Some(reply) = self.reply(ending) else { return };
        self.record(Entry::RunEnded { reply: Box::new(reply.clone()) });
        self.effects.push(Effect::Finish { reply: Box::new(reply) });
    }

    fn reply(&self, ending: Result<Values, Cause>) -> Option<Reply> {
        let begun = self.next.started()?;
        let usage = self.next.usage();
        let involved = match &begun.team {
            Some(_) => usage.agents.iter().filter(|agent| begun.members.contains(agent)).count(),
            None => usage.agents.len(),
        };
        let metadata = Metadata {
            agents_involved: u32::try_from(involved).unwrap_or(u32::MAX),
            duration_ms: self.elapsed_ms(self.next.started_at),
            policy_checks: begun.checks.clone(),
            trace_id: begun.trace.clone(),
            ..Metadata::from(usage.clone())
        };
        let (status, outputs, error) = match ending {
            Ok(outputs) => (Status::Success, outputs, None),
            Err(cause) => (Status::from_cause(&cause), Values::new(), Some(with_undoing(cause, &self.next))),
        };
        Some(Reply { id: begun.run.to_string(), status, outputs, error, metadata })
    }
}

/// The reply of a run that ends without having been able to begin, or to go on.
pub(crate) fn refused(run: &RunId, state: &State, cause: Cause) -> Reply {
    let usage = state.usage();
    let metadata =
        Metadata { trace_id: state.started().and_then(|begun| begun.trace.clone()), ..Metadata::from(usage.clone()) };
    Reply {
        id: run.to_string(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata,
    }
}

/// Names what was undone and what could not be.
fn with_undoing(mut cause: Cause, state: &State) -> Cause {
    let named = |wanted: &StepStatus| -> Vec<Json> {
        let mut names = Vec::new();
        for (step, track) in state.tracks() {
            if track.status == *wanted {
                names.push(Json::String(step.to_string()));
            }
            let items = track.items.iter().flat_map(|items| items.iter()).filter(|(_, item)| *item == wanted);
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
