//! The inputs of jobs: `{agent | workflow | team, inputs, context?, options?, stream?}`, or `{mode: "lease"}`.

use greenroom_protocol::{Cause, ErrorCode, Json, Request};
use serde::Deserialize;

use crate::worker::lease::LeaseInput;

/// What a job requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JobInput {
    /// An execution.
    Execution(Box<ExecutionInput>),
    /// To keep the worker.
    Lease(LeaseInput),
}

/// An execution of an agent, a workflow or a team.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExecutionInput {
    agent: Option<String>,
    workflow: Option<String>,
    /// The id of a team, or its definition.
    team: Option<Json>,
    inputs: Option<Json>,
    context: Option<Json>,
    options: Option<Json>,
    /// True to stream the text of the models while the job is executed.
    pub(super) stream: bool,
}

impl JobInput {
    /// Reads the input of a job.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] with what is wrong.
    pub(super) fn read(input: &Json) -> Result<Self, Cause> {
        let invalid = |error: serde_json::Error| invalid(format!("the input of the job cannot be read: {error}"));
        if input.get("mode").is_some() {
            return serde_json::from_value(input.clone()).map(Self::Lease).map_err(invalid);
        }
        let execution: ExecutionInput = serde_json::from_value(input.clone()).map_err(invalid)?;
        Ok(Self::Execution(Box::new(execution)))
    }
}

impl ExecutionInput {
    /// The request.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if it names no callee or several.
    pub(super) fn into_request(self) -> Result<Request, Cause> {
        let Self { agent, workflow, team, inputs, context, options, stream: _ } = self;
        let verb = match (&agent, &workflow, &team) {
            (Some(_), None, None) => "invoke",
            (None, Some(_), None) => "start_run",
            (None, Some(_), Some(_)) => "start_team",
            (None, None, Some(_)) => return Err(invalid("a job of a `team` names its `workflow` too".to_owned())),
            (None, None, None) | (Some(_), _, _) => {
                return Err(invalid(
                    "a job names an `agent`, a `workflow`, or a `team` with its `workflow`".to_owned(),
                ));
            }
        };
        let empty = || Json::Object(serde_json::Map::new());
        let members = [
            ("verb", Some(verb.into())),
            ("agent", agent.map(Json::String)),
            ("workflow", workflow.map(Json::String)),
            ("team", team),
            ("inputs", Some(inputs.unwrap_or_else(empty))),
            ("context", context),
            ("options", options),
        ];
        let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Request::from_json(Json::Object(members.collect()))
    }
}

fn invalid(message: String) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ErrorCode, JobInput, Request};

    fn request(input: &Value) -> Result<Request, ErrorCode> {
        match JobInput::read(input).map_err(|cause| cause.code)? {
            JobInput::Execution(execution) => execution.into_request().map_err(|cause| cause.code),
            JobInput::Lease(lease) => panic!("{lease:?}"),
        }
    }

    #[test]
    fn an_input_names_one_callee() {
        let agent = request(&json!({ "agent": "echo", "inputs": { "text": "x" } })).unwrap();
        assert!(matches!(agent, Request::Invoke(_)));
        let workflow = json!({ "workflow": "report", "context": { "q": 1 }, "options": { "model": "fast" } });
        assert!(matches!(request(&workflow).unwrap(), Request::StartRun(_)));
        let team = json!({ "team": "writers", "workflow": "report", "inputs": {}, "stream": true });
        assert!(matches!(request(&team).unwrap(), Request::StartTeam(_)));
    }

    #[test]
    fn an_input_that_is_no_execution_is_refused() {
        for input in [
            json!({}),
            json!({ "inputs": {} }),
            json!({ "team": "writers" }),
            json!({ "agent": "a", "workflow": "w" }),
            json!({ "agent": "a b" }),
            json!({ "agent": "a", "input": {} }),
            json!({ "agent": "a", "inputs": [1] }),
            json!({ "agent": "a", "options": { "temperature": 1 } }),
            json!("agent"),
            json!(null),
        ] {
            assert_eq!(request(&input).unwrap_err(), ErrorCode::InvalidRequest, "{input}");
        }
    }

    #[test]
    fn a_mode_is_a_lease_or_nothing() {
        assert!(matches!(JobInput::read(&json!({ "mode": "lease", "max_s": 9 })), Ok(JobInput::Lease(_))));
        assert!(JobInput::read(&json!({ "mode": "batch" })).is_err());
        assert!(JobInput::read(&json!({ "mode": "lease", "agent": "a" })).is_err());
    }
}
