//! The three interfaces of a process, so that one scenario uses each of them in the same way.

use anyhow::{Context, Result};
use greenroom_client::{Call, Client};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY};
use greenroom_integration_tests::up_process::{OPERATOR_KEY, UpProcess};
use greenroom_protocol::Json;
use serde_json::json;

/// A user: by name at the command line, by key over the network.
pub(super) struct User {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
}

pub(super) const ADMIN: User = User { name: "admin", key: ADMIN_KEY };
pub(super) const OPERATOR: User = User { name: "operator", key: OPERATOR_KEY };
pub(super) const GUEST: User = User { name: "guest", key: GUEST_KEY };

/// What is called: an agent, a workflow, or a team with its workflow.
#[derive(Debug, Clone, Copy)]
pub(super) enum Callee {
    Agent(&'static str),
    Workflow(&'static str),
    Team(&'static str, &'static str),
}

/// A way into a process.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interface {
    CommandLine,
    Http,
    Nats,
}

/// What a call has led to: outputs, or the code of a refusal.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Success(Json),
    Refusal(String),
}

impl Outcome {
    /// A success with one output.
    pub(super) fn output(name: &str, value: &str) -> Self {
        Self::Success(json!({ name: value }))
    }

    /// The outputs of a run: the result of the workflow, and the output `text` of its last step.
    pub(super) fn run_outputs(value: &str) -> Self {
        Self::Success(json!({ "final_output": value, "text": value }))
    }

    pub(super) fn refusal(code: &str) -> Self {
        Self::Refusal(code.to_owned())
    }
}

impl Interface {
    pub(super) const ALL: [Self; 3] = [Self::CommandLine, Self::Http, Self::Nats];

    /// Calls an agent, a workflow or a team as this user, with this text as the input `text` or with no input.
    pub(super) async fn call(self, up: &UpProcess, user: &User, callee: Callee, text: Option<&str>) -> Result<Outcome> {
        match self {
            Self::CommandLine => by_command(up, user, callee, text).await,
            Self::Http => by_client(&up.http(user.key)?, callee, text).await,
            Self::Nats => by_client(&up.nats(user.key).await?, callee, text).await,
        }
    }
}

async fn by_command(up: &UpProcess, user: &User, callee: Callee, text: Option<&str>) -> Result<Outcome> {
    let mut words = vec!["run"];
    words.extend(match callee {
        Callee::Agent(agent) => vec!["agent", agent],
        Callee::Workflow(workflow) => vec!["workflow", workflow],
        Callee::Team(team, workflow) => vec!["team", team, "--workflow", workflow],
    });
    let input = text.map(|text| format!("text={text}"));
    words.extend(input.iter().flat_map(|input| ["--input", input.as_str()]));
    words.extend(["--user", user.name]);
    let document = up.terminal.run(&words).await?.json()?;
    match document["error"]["code"].as_str() {
        Some(code) => Ok(Outcome::refusal(code)),
        None => Ok(Outcome::Success(document["outputs"].clone())),
    }
}

async fn by_client(client: &Client, callee: Callee, text: Option<&str>) -> Result<Outcome> {
    let mut call: Call<'_> = match callee {
        Callee::Agent(agent) => client.agent(agent),
        Callee::Workflow(workflow) => client.workflow(workflow),
        Callee::Team(team, workflow) => client.team(team).workflow(workflow),
    };
    if let Some(text) = text {
        call = call.input("text", text);
    }
    match call.execute().await {
        Ok(outputs) => Ok(Outcome::Success(serde_json::to_value(outputs)?)),
        Err(error) => {
            let code = error.code().with_context(|| format!("no reply: {error}"))?;
            Ok(Outcome::refusal(code.as_str()))
        }
    }
}
