//! The builder of a call of an agent, a workflow or a team: what it is called with, and how its caller receives the
//! result.

use std::time::Duration;

use futures::future::BoxFuture;
use greenroom_protocol::id::IdError;
use greenroom_protocol::request::{CallOptions, Invoke, StartRun};
use greenroom_protocol::{
    AgentId, Cause, Deadline, ErrorCode, IdempotencyKey, Json, MicroUsd, Reply, Request, RequestId, TraceId, Values,
    WorkflowId,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::Connection;
use crate::error::Error;
use crate::prepared::{PreparedRequest, ReplyResult, SendOptions};
use crate::transport::ProgressStream;

/// The parameters of a call of an agent, a workflow or a team.
#[derive(Debug, Clone, Default)]
pub struct CallParams {
    /// Its inputs, by name.
    pub inputs: Values,
    /// Its context, by name.
    pub context: Values,
    /// Overrides of the definition.
    pub options: CallOptions,
    /// True to receive the reply when the run is accepted. A call of an agent ignores it.
    pub detach: bool,
}

/// The callee, by ids that are checked when the call is sent.
enum Callee {
    Agent(String),
    Workflow(String),
    /// The team is its id, or its definition: as the request has it.
    Team {
        team: Json,
        workflow: String,
    },
}

/// A call of an agent, a workflow or a team. It is sent by [`Call::execute`], [`Call::execute_as`], [`Call::run`],
/// [`Call::send`] or [`Call::stream`]. An id or a value that is invalid is refused then, and nothing is sent.
#[must_use = "a call does nothing until it is sent"]
pub struct Call<'c> {
    connection: &'c Connection,
    callee: Callee,
    params: CallParams,
    options: SendOptions,
    /// The first value that cannot be sent.
    invalid: Option<Cause>,
}

impl<'c> Call<'c> {
    pub(crate) fn agent(connection: &'c Connection, id: &str) -> Self {
        Self::new(connection, Callee::Agent(id.to_owned()))
    }

    pub(crate) fn workflow(connection: &'c Connection, id: &str) -> Self {
        Self::new(connection, Callee::Workflow(id.to_owned()))
    }

    /// A call of a team, which is its id or its definition.
    pub(crate) fn team(connection: &'c Connection, team: Json, workflow: &str) -> Self {
        Self::new(connection, Callee::Team { team, workflow: workflow.to_owned() })
    }

    fn new(connection: &'c Connection, callee: Callee) -> Self {
        Self { connection, callee, params: CallParams::default(), options: SendOptions::default(), invalid: None }
    }

    /// Refuses the call for this cause when it is sent.
    pub(crate) fn refused_for(mut self, cause: Option<Cause>) -> Self {
        self.invalid = self.invalid.or(cause);
        self
    }

    /// Sets one input. A value that has no JSON form is refused when the call is sent.
    pub fn input(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        if let Some(value) = self.checked(&name, &value) {
            self.params.inputs.insert(name, value);
        }
        self
    }

    /// Sets an input for each member of a value, which is a struct or a map.
    pub fn inputs(mut self, inputs: &impl Serialize) -> Self {
        if let Some(members) = self.checked_members("inputs", inputs) {
            self.params.inputs.extend(members);
        }
        self
    }

    /// Sets one value of the context.
    pub fn context(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        let name = name.into();
        if let Some(value) = self.checked(&name, &value) {
            self.params.context.insert(name, value);
        }
        self
    }

    /// Replaces the inputs, the context, the overrides and whether the call is detached.
    pub fn params(mut self, params: CallParams) -> Self {
        self.params = params;
        self
    }

    /// Uses this model (`PROVIDER.NAME`) or tier instead of the definition's.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.params.options.model = Some(model.into());
        self
    }

    /// Limits the cost of the whole request.
    pub fn cost_max(mut self, cost: MicroUsd) -> Self {
        self.params.options.cost_max = Some(cost);
        self
    }

    /// Returns the reply as soon as the run is accepted. A call of an agent ignores it.
    pub fn detach(mut self) -> Self {
        self.params.detach = true;
        self
    }

    /// Sets the time until which the caller waits.
    pub fn deadline(mut self, deadline: Deadline) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Sets the time for which the caller waits, from the moment in which the call is sent. If it has a deadline too, the
    /// earlier one counts.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets the idempotency key: repeating the call with the same key returns the first reply.
    pub fn idempotency_key(mut self, key: impl AsRef<str>) -> Self {
        match IdempotencyKey::new(key) {
            Ok(key) => self.options.idempotency_key = Some(key),
            Err(error) => self.set_invalid(invalid_id("idempotency key", &error)),
        }
        self
    }

    /// Sets the trace that the call belongs to.
    pub fn trace(mut self, trace: TraceId) -> Self {
        self.options.trace = Some(trace);
        self
    }

    /// Names the request, so that the run that it starts can be watched before the reply arrives
    /// (`Client::watch_started`). Another request of the same caller with this name is the same request.
    pub fn request_id(mut self, id: RequestId) -> Self {
        self.options.request_id = Some(id);
        self
    }

    /// Sends the call and returns its reply, whatever its status.
    ///
    /// # Errors
    /// [`crate::TransportError`] if no reply arrived.
    pub fn send(self) -> BoxFuture<'c, ReplyResult> {
        self.prepare().send()
    }

    /// Sends the call and returns its reply, which is a success and has the usage beside the outputs.
    ///
    /// # Errors
    /// [`Error::Refused`] if the reply is no success; [`Error::Transport`] if none arrived.
    pub async fn reply(self) -> Result<Reply, Error> {
        self.prepare().reply().await
    }

    /// Sends the call and returns its outputs, by name.
    ///
    /// # Errors
    /// As [`Call::reply`].
    pub async fn execute(self) -> Result<Values, Error> {
        self.prepare().execute().await
    }

    /// Sends the call and returns its outputs as a value of this type.
    ///
    /// # Errors
    /// As [`Call::reply`]; [`Error::Decode`] if the outputs are of another type.
    pub async fn execute_as<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.prepare().execute_as().await
    }

    /// As [`Call::execute`], under the name that fits a workflow.
    ///
    /// # Errors
    /// As [`Call::reply`].
    pub async fn run(self) -> Result<Values, Error> {
        self.execute().await
    }

    /// Sends the call and streams its progress: the texts of a model, and at the end the reply.
    #[must_use]
    pub fn stream(self) -> ProgressStream {
        self.prepare().stream()
    }

    /// The request of this call, with its options.
    fn prepare(self) -> PreparedRequest<'c> {
        let Self { connection, callee, params, options, invalid } = self;
        let request = invalid.map_or_else(|| callee.request(params), Err);
        PreparedRequest::new(connection, request).options(options)
    }

    fn checked(&mut self, name: &str, value: &impl Serialize) -> Option<Json> {
        match serde_json::to_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.set_invalid(invalid_value(name, &error.to_string()));
                None
            }
        }
    }

    fn checked_members(&mut self, name: &str, value: &impl Serialize) -> Option<serde_json::Map<String, Json>> {
        match self.checked(name, value)? {
            Json::Object(members) => Some(members),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
                self.set_invalid(invalid_value(name, "it has no named members"));
                None
            }
        }
    }

    fn set_invalid(&mut self, cause: Cause) {
        self.invalid.get_or_insert(cause);
    }
}

impl Callee {
    fn request(self, params: CallParams) -> Result<Request, Cause> {
        let CallParams { inputs, context, options, detach } = params;
        Ok(match self {
            Self::Agent(agent) => {
                let agent = AgentId::new(agent).map_err(|error| invalid_id("agent", &error))?;
                Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options, approvals: None })
            }
            Self::Workflow(workflow) => {
                let workflow = workflow_id(&workflow)?;
                Request::StartRun(StartRun { workflow, inputs, context, version: None, detach, key: None, options })
            }
            Self::Team { team, workflow } => {
                let workflow = workflow_id(&workflow)?;
                // A definition is read as the pod reads it.
                let members = [
                    ("verb", "start_team".into()),
                    ("team", team),
                    ("workflow", workflow.as_str().into()),
                    ("inputs", Json::Object(inputs.into_iter().collect())),
                    ("context", Json::Object(context.into_iter().collect())),
                    ("detach", detach.into()),
                    ("options", serde_json::json!(options)),
                ];
                let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
                return Request::from_json(Json::Object(members.collect()));
            }
        })
    }
}

/// A team to call, whose workflow is not chosen yet.
#[must_use = "a team is called with a workflow"]
pub struct TeamCall<'c> {
    connection: &'c Connection,
    team: String,
}

impl<'c> TeamCall<'c> {
    pub(crate) fn new(connection: &'c Connection, team: &str) -> Self {
        Self { connection, team: team.to_owned() }
    }

    /// Calls the team with this workflow.
    pub fn workflow(self, id: impl AsRef<str>) -> Call<'c> {
        Call::team(self.connection, self.team.into(), id.as_ref())
    }
}

fn workflow_id(text: &str) -> Result<WorkflowId, Cause> {
    WorkflowId::new(text).map_err(|error| invalid_id("workflow", &error))
}

/// The cause of a text that is no id.
pub(crate) fn invalid_id(kind: &str, error: &IdError) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, format!("the {kind} is invalid: {error}"))
}

fn invalid_value(name: &str, reason: &str) -> Cause {
    Cause::new(ErrorCode::InvalidInput, format!("`{name}` cannot be sent: {reason}"))
}
