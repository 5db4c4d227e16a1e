//! A team that a request defines: its name, its members and its shared context. The pods form it for this request, judged
//! and pinned like a team of the catalogue.

use greenroom_protocol::{AgentId, Cause, ErrorCode, Json, Values};
use serde::Serialize;
use serde_json::json;

use crate::call::Call;
use crate::client::Client;
use crate::error::Error;

/// A team that exists for the requests that contain it.
#[derive(Debug, Clone)]
#[must_use = "a team does nothing until it executes a workflow"]
pub struct Team {
    name: String,
    agents: Vec<String>,
    shared_context: Values,
    /// The first value that cannot be sent.
    invalid: Option<Cause>,
}

impl Team {
    /// A team with this display name and without members.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), agents: Vec::new(), shared_context: Values::new(), invalid: None }
    }

    /// Adds members by their ids, with or without the `_NNN` ordinal.
    pub fn agents<A: Into<String>>(mut self, agents: impl IntoIterator<Item = A>) -> Self {
        self.agents.extend(agents.into_iter().map(Into::into));
        self
    }

    /// Adds a member.
    pub fn agent(mut self, agent: &AgentId) -> Self {
        self.agents.push(agent.to_string());
        self
    }

    /// Sets the initial values of the shared context, one for each member of a struct or a map.
    pub fn shared_context(mut self, values: impl Serialize) -> Self {
        let invalid = |reason: String| {
            Cause::new(ErrorCode::InvalidInput, format!("the shared context cannot be sent: {reason}"))
        };
        match serde_json::to_value(values) {
            Ok(Json::Object(members)) => self.shared_context.extend(members),
            Ok(_) => self.invalid = Some(invalid("it has no named members".to_owned())),
            Err(error) => self.invalid = Some(invalid(error.to_string())),
        }
        self
    }

    /// Begins a call of this team with a workflow, for calls with a deadline, a key or a stream.
    pub fn workflow<'c>(&self, client: &'c Client, workflow: impl AsRef<str>) -> Call<'c> {
        let Self { name, agents, shared_context, invalid } = self;
        let team = json!({ "name": name, "agents": agents, "shared_context": shared_context });
        Call::team(client.connection(), team, workflow.as_ref()).refused_for(invalid.clone())
    }

    /// Executes a workflow with this team, and returns its outputs.
    ///
    /// # Errors
    /// [`Error::Refused`] if the reply is no success; [`Error::Transport`] if none arrived.
    pub async fn execute_workflow(
        &self,
        client: &Client,
        workflow: impl AsRef<str> + Send,
        inputs: impl Serialize + Send,
    ) -> Result<Values, Error> {
        self.workflow(client, workflow).inputs(&inputs).execute().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use futures::StreamExt;
    use greenroom_protocol::event::{EventNumber, WatchedRun};
    use greenroom_protocol::{Envelope, Metadata, Reply, Status, WrittenVersion};

    use super::*;
    use crate::transport::{Events, Transport, TransportError};

    #[derive(Default)]
    struct Recorder(Mutex<Vec<Envelope>>);

    #[async_trait]
    impl Transport for Recorder {
        async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
            self.0.lock().unwrap().push(envelope);
            let (outputs, metadata) = (Values::new(), Metadata::default());
            let (status, protocol_version) = (Status::Success, WrittenVersion::OWN);
            Ok(Reply { id: "run_1".into(), status, outputs, error: None, metadata, protocol_version })
        }

        fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
            futures::stream::empty().boxed()
        }
    }

    #[tokio::test]
    async fn a_request_contains_its_team() {
        let recorder = Arc::new(Recorder::default());
        let client = Client::new(recorder.clone());
        let team = Team::new("Reporting").agents(["data_agent", "writer_agent"]).shared_context(json!({ "q": "Q1" }));
        team.execute_workflow(&client, "report", json!({ "text": "x" })).await.unwrap();
        let sent = recorder.0.lock().unwrap();
        let request = serde_json::to_value(&sent[0].request).unwrap();
        let expected =
            json!({ "name": "Reporting", "agents": ["data_agent", "writer_agent"], "shared_context": { "q": "Q1" } });
        assert_eq!((&request["team"], &request["workflow"]), (&expected, &json!("report")));
        assert_eq!(request["inputs"], json!({ "text": "x" }));
    }

    #[tokio::test]
    async fn a_team_with_an_invalid_member_or_context_is_refused_and_not_sent() {
        let recorder = Arc::new(Recorder::default());
        let client = Client::new(recorder.clone());
        for team in [Team::new("t").agents(["a b"]), Team::new("t").agents(["a"]).shared_context(3)] {
            let error = team.execute_workflow(&client, "w", json!({})).await.unwrap_err();
            assert!(matches!(error.code(), Some(ErrorCode::InvalidRequest | ErrorCode::InvalidInput)), "{error}");
        }
        assert!(recorder.0.lock().unwrap().is_empty());
    }
}
