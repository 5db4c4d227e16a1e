//! A pod whose definitions name policies: an agent, a workflow and a team for each case, with users of several
//! rights and scripted models.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use greenroom_actors::model::{Deltas, ModelCall, ModelError, ModelProvider};
use greenroom_client::{CallParams, Client};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::request::{CallOptions, Page};
use greenroom_protocol::{AgentId, Json, MicroUsd, Reply, Status, TeamId, UserId, Values, WorkflowId};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::outbound::CredentialsConfig;
use greenroom_supervisor::config::{HttpApiConfig, UserConfig};
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use tempfile::TempDir;

use super::Outcome;
use super::cases::{self, Level, Route, Setup, Worker};

/// Rows of the audit that are read after a request; no case has as many hops.
const AUDIT_ROWS: u32 = 200;

/// A provider that the platform regards as external.
struct External(Scripted);

#[async_trait]
impl ModelProvider for External {
    fn name(&self) -> &str {
        "openai"
    }

    fn is_external(&self) -> bool {
        true
    }

    async fn stream(&self, call: ModelCall<'_>) -> Result<Deltas, ModelError> {
        self.0.stream(call).await
    }
}

/// A model that calls the tool that its name says, once, and then answers.
fn script() -> Script {
    let answer = || ScriptedReply::Json(json!({ "text": "done" }));
    let uses = |model: &str, tool: &str, arguments: Json| {
        let of_model = |contains, reply| ScriptedCall {
            model: Some(model.to_owned()),
            contains,
            reply,
            ..ScriptedCall::default()
        };
        let (id, name) = ("call_1".to_owned(), tool.to_owned());
        [of_model(Some(tool.to_owned()), answer()), of_model(None, ScriptedReply::Tool { id, name, arguments })]
    };
    let calculates = uses("calculates", "calculator", json!({ "expression": "1 + 1" }));
    let delegates = uses("delegates", "helper_agent", json!({ "text": "help" }));
    let fetches = uses("fetches", "things_list_things", json!({}));
    let answers = ScriptedCall { reply: answer(), ..ScriptedCall::default() };
    Script { calls: calculates.into_iter().chain(delegates).chain(fetches).chain([answers]).collect() }
}

/// The pod and its folder.
pub(super) struct World {
    pod: Pod,
    _folder: TempDir,
}

impl World {
    /// Starts a pod with the definitions of these cases.
    pub(super) async fn start(cases: Vec<(&'static str, Level, Setup)>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        definitions.write_echo_agent("helper_agent")?;
        for (policy, level, setup) in &cases {
            write_case(&definitions, policy, *level, setup)?;
        }
        let pod = start_pod(folder.path(), StoreKind::Memory).await?;
        Ok(Self { pod, _folder: folder })
    }

    /// Sends the request of a case.
    pub(super) async fn send(&self, policy: &str, level: Level, setup: &Setup) -> Result<Reply> {
        let client = self.pod.client(&UserId::new(setup.user)?);
        let name = case_name(policy, level, setup);
        let document = match setup.document_bytes {
            0..1_000 => Json::from("x".repeat(usize::try_from(setup.document_bytes)?)),
            bytes => {
                let content = vec![b'x'; usize::try_from(bytes)?];
                let ingress = self.pod.ingress();
                ingress.store_artifact(&UserId::new(setup.user)?, content, "text/plain", "large.txt").await?.to_json()
            }
        };
        let cost_max = setup.has_cost_limit.then_some(MicroUsd(1_000_000));
        let params = CallParams {
            inputs: Values::from([("text".to_owned(), document)]),
            options: CallOptions { cost_max, ..CallOptions::default() },
            ..CallParams::default()
        };
        let (agent, workflow) = (AgentId::new(format!("{name}_agent"))?, WorkflowId::new(format!("{name}_flow"))?);
        Ok(match setup.route {
            Route::Agent => client.run_agent(agent, params).await?,
            Route::Workflow => client.run_workflow(workflow, params).await?,
            Route::Team => client.run_team(TeamId::new(format!("{name}_team"))?, workflow, params).await?,
        })
    }

    /// Sends the request of a case, and reads the denials of all its hops from the audit.
    pub(super) async fn run(&self, policy: &str, level: Level, setup: &Setup) -> Result<Outcome> {
        let reply = self.send(policy, level, setup).await?;
        let trace = reply.metadata.trace_id.clone();
        let trace = serde_json::to_value(trace)?;
        let denials = denials(&self.pod.client(&UserId::new("admin")?), &trace).await?;
        Ok(Outcome { denials, has_succeeded: reply.status == Status::Success })
    }

    pub(super) async fn shutdown(self) {
        self.pod.shutdown().await;
    }
}

/// The codes of the denied requests of a trace.
pub(super) async fn denials(client: &Client, trace: &Json) -> Result<BTreeSet<String>> {
    let reply = client.audit(Page { after: None, limit: AUDIT_ROWS }).await?;
    let records = reply.outputs["records"].as_array().context("records")?;
    let opened = |record: &&Json| record["event"]["kind"] == "opened" && record["event"]["trace"] == *trace;
    let numbers: Vec<_> = records.iter().filter(opened).map(|record| &record["number"]).collect();
    let denied = records.iter().map(|record| &record["event"]).filter(|event| {
        // A permitted run that ends with the denial of one of its steps has a version, and its own checks.
        let is_denial = event["code"] == "policy_denied" && event["version"].is_null();
        event["kind"] == "closed" && is_denial && numbers.contains(&&event["opened"])
    });
    let codes = denied.filter_map(|event| event["checks"].as_array()).flatten().filter_map(Json::as_str);
    Ok(codes.map(str::to_owned).collect())
}

/// Starts a pod over this folder, with scripted models and the users of the cases.
pub(super) async fn start_pod(folder: &Path, store: StoreKind) -> Result<Pod> {
    let mut config = test_config(folder, store, Some(&folder.join("definitions")))?;
    config.outbound.apis.insert("things".to_owned(), write_external_api(folder)?);
    config.users.users.extend([
        user("plain_admin", &["admin"], false)?,
        user("insider", &["agent_operator", "internal"], false)?,
        user("approver", &["approver"], false)?,
    ]);
    let providers: Vec<Arc<dyn ModelProvider>> =
        vec![Arc::new(Scripted::new(script())), Arc::new(External(Scripted::new(script())))];
    let overrides = Overrides { providers, ..Overrides::default() };
    compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides)
        .await
        .context("the pod cannot be assembled")
}

/// An API whose one operation no case may call: nothing listens there.
fn write_external_api(folder: &Path) -> Result<HttpApiConfig> {
    let document = folder.join("things.json");
    let operation = json!({ "operationId": "list_things" });
    fs::write(&document, json!({ "openapi": "3.1.0", "paths": { "/things": { "get": operation } } }).to_string())?;
    Ok(HttpApiConfig {
        document: document.display().to_string(),
        base_url: Some("https://127.0.0.1:9".to_owned()),
        operations: None,
        credentials: CredentialsConfig::default(),
        allow_private: false,
        internal: false,
        timeout_s: 5,
    })
}

fn user(name: &str, roles: &[&str], pii_access: bool) -> Result<UserConfig> {
    let user = json!({
        "name": name, "roles": roles,
        "permissions": { "allowed_categories": ["business_ops"], "pii_access": pii_access },
    });
    Ok(serde_json::from_value(user)?)
}

/// The name that the definitions of a case share.
pub(super) fn case_name(policy: &str, level: Level, setup: &Setup) -> String {
    let Setup { worker, route, user, document_bytes, has_cost_limit, is_member } = setup;
    format!("{policy}_{level:?}_{worker:?}_{route:?}_{user}_{document_bytes}_{has_cost_limit}_{is_member}")
        .to_lowercase()
}

pub(super) fn write_case(definitions: &DefinitionsDir, policy: &str, level: Level, setup: &Setup) -> Result<()> {
    let name = case_name(policy, level, setup);
    let policies =
        |at: Level| if at == level { format!("policies: [{}]\n", cases::written(policy)) } else { String::new() };
    write_worker(definitions.dir(), &format!("{name}_agent"), setup.worker, &policies(Level::Agent))?;
    write_flow(definitions, &format!("{name}_flow"), &format!("{name}_agent"), &policies(Level::Workflow))?;
    let member = if setup.is_member { format!("{name}_agent") } else { "helper_agent".to_owned() };
    let team = format!(
        "team_id: {name}_team\nname: Team\ndescription: One member\nagents: [{member}]\nworkflows: [{name}_flow]\n{}",
        policies(Level::Team)
    );
    definitions.write_team(&format!("{name}_team"), &team)
}

/// Writes a workflow with one step.
pub(super) fn write_flow(definitions: &DefinitionsDir, id: &str, agent: &str, members: &str) -> Result<()> {
    let text = format!(
        "workflow_id: {id}\nname: Flow\ndescription: One step\nversion: \"1.0.0\"\n{members}\
         inputs:\n  - name: text\n    type: text\n    required: true\n\
         steps:\n  - id: work\n    agent: {agent}\n    inputs:\n      text: \"${{inputs.text}}\"\n    outputs: [text]\n"
    );
    definitions.write_workflow(id, &text)
}

/// Writes an agent that behaves as the case demands.
pub(super) fn write_worker(dir: &Path, id: &str, worker: Worker, members: &str) -> Result<()> {
    let echo = "  runtime: native\n  handler: native.echo\n  timeout: 60\n".to_owned();
    let llm = |model: &str| {
        format!(
            "  runtime: llm\n  model: {model}\n  timeout: 60\n  prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\"\n"
        )
    };
    let (implementation, more) = match worker {
        Worker::Quiet => (echo, ""),
        Worker::Publishing => (echo, "collaboration:\n  provides_to_team: [text]\n"),
        Worker::Internal => (llm("scripted.answers"), ""),
        Worker::External => (llm("openai.gpt-4.1"), ""),
        Worker::Calculating => (llm("scripted.calculates"), "tools: [\"native:calculator\"]\n"),
        Worker::Fetching => (llm("scripted.fetches"), "tools: [\"http:things/list_things\"]\n"),
        Worker::Delegating => (
            llm("scripted.delegates"),
            "tools: [\"agent:helper_agent\"]\ncollaboration:\n  can_work_with: [helper_agent]\n",
        ),
    };
    let text = format!(
        "agent_id: {id}\nname: Worker\ncategory: business_ops\ndescription: Works\nversion: \"1.0.0\"\n\
         capabilities: [text_generation]\ninputs:\n  - name: text\n    type: text\n    required: true\n\
         outputs:\n  - name: text\n    type: text\n{members}{more}implementation:\n{implementation}"
    );
    let folder = dir.join("agents/business_ops");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
}
