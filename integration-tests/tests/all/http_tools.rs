//! Operations of an HTTP API as tools, through the whole pipeline of a pod: a scripted model calls them, and a scripted
//! server on loopback is the API.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use greenroom_actors::model::ModelProvider;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{TestPod, start_configured_pod, text};
use greenroom_protocol::header::Traceparent;
use greenroom_protocol::request::Page;
use greenroom_protocol::{AgentId, Json, Reply, Status, UserId};
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::config::outbound::CredentialsConfig;
use greenroom_supervisor::config::{Config, HttpApiConfig, Secret};
use serde_json::json;

mod checks;
mod hostile;

const AGENT: &str = "tool_agent";
const TOKEN: &str = "token-of-the-api";

/// The document of the API. Its server is elsewhere: the configuration says where requests are sent.
fn document() -> Json {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Shop", "version": "1" },
        "servers": [{ "url": "https://elsewhere.example" }],
        "paths": {
            "/orders/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "get": {
                    "operationId": "get_order", "summary": "Reads an order",
                    "parameters": [
                        { "name": "fields", "in": "query", "explode": false, "schema": { "type": "array", "items": { "type": "string" } } },
                        { "name": "X-Region", "in": "header", "schema": { "type": "string" } },
                    ],
                },
                "put": { "operationId": "replace_order", "requestBody": {
                    "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } },
                } },
            },
        },
        "components": { "schemas": { "Order": { "type": "object", "properties": {
            "lines": { "type": "array" }, "parent": { "$ref": "#/components/schemas/Order" },
        } } } },
    })
}

/// Writes the document, and returns the settings of its API with the address of a server.
fn api(folder: &Path, document: &Json, base_url: &str) -> Result<HttpApiConfig> {
    let path = folder.join("shop.json");
    std::fs::write(&path, document.to_string())?;
    let headers = vec![("authorization".to_owned(), Secret::new(format!("Bearer {TOKEN}")))];
    let query = vec![("tenant".to_owned(), Secret::new("t 1"))];
    Ok(HttpApiConfig {
        document: path.display().to_string(),
        base_url: Some(base_url.to_owned()),
        operations: None,
        credentials: CredentialsConfig { headers, query, missing: Vec::new() },
        allow_private: true,
        internal: false,
        timeout_s: 5,
    })
}

/// A model that makes this call, and then answers whether its result is an artifact.
fn calls(tool: &str, arguments: Json) -> Script {
    let call = ScriptedReply::Tool { id: "call_1".to_owned(), name: format!("shop_{tool}"), arguments };
    let first = ScriptedCall { times: Some(1), reply: call, ..ScriptedCall::default() };
    let answer = |contains: Option<&str>, text: &str| ScriptedCall {
        contains: contains.map(str::to_owned),
        reply: ScriptedReply::Json(json!({ "text": text })),
        ..ScriptedCall::default()
    };
    Script { calls: vec![first, answer(Some("$artifact"), "an artifact"), answer(None, "done")] }
}

/// Writes an agent whose model may call one operation.
fn write_tool_agent(definitions: &DefinitionsDir, tool: &str) -> Result<()> {
    let implementation = format!(
        "runtime: llm\n  model: scripted.x\n  timeout: 30\n  prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\"\n\
         tools: [\"http:shop/{tool}\"]"
    );
    definitions.write_agent(AGENT, "business_ops", &implementation)
}

/// A pod whose agent calls one operation of the API once.
struct ToolPod {
    pod: TestPod,
    _folder: tempfile::TempDir,
}

impl ToolPod {
    async fn start(
        server: &ModelServer,
        tool: &str,
        arguments: Json,
        configure: impl FnOnce(&mut HttpApiConfig),
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        write_tool_agent(&definitions, tool)?;
        let mut settings = api(folder.path(), &document(), server.url())?;
        configure(&mut settings);
        Self::with_definitions(folder, &definitions, settings, calls(tool, arguments)).await
    }

    /// Starts a pod over definitions that are written already.
    async fn with_definitions(
        folder: tempfile::TempDir,
        definitions: &DefinitionsDir,
        settings: HttpApiConfig,
        script: Script,
    ) -> Result<Self> {
        let providers: Vec<Arc<dyn ModelProvider>> = vec![Arc::new(Scripted::new(script))];
        let overrides = Overrides { providers, ..Overrides::default() };
        let pod = start_configured_pod(Some(definitions.dir()), overrides, |config: &mut Config| {
            config.outbound.apis.insert("shop".to_owned(), settings);
        });
        Ok(Self { pod: Box::pin(pod).await?, _folder: folder })
    }

    async fn call(&self) -> Result<Reply> {
        let params = CallParams { inputs: text("hello"), ..CallParams::default() };
        Ok(self.pod.admin()?.run_agent(AgentId::new(AGENT)?, params).await?)
    }

    /// The closed audit entries of tool calls: the code of each, or `None` for a success.
    async fn tool_calls(&self) -> Result<Vec<Option<String>>> {
        let reply = self.pod.admin()?.audit(Page { after: None, limit: 100 }).await?;
        let events: Vec<&Json> = reply.outputs["records"].as_array().context("records")?.iter().collect();
        let opened = |record: &&&Json| record["event"]["kind"] == "opened" && record["event"]["action"] == "call_tool";
        let numbers: Vec<&Json> = events.iter().filter(opened).map(|record| &record["number"]).collect();
        let closed = events
            .iter()
            .map(|record| &record["event"])
            .filter(|event| event["kind"] == "closed" && numbers.contains(&&event["opened"]));
        Ok(closed.map(|event| event["code"].as_str().map(str::to_owned)).collect())
    }

    async fn shutdown(self) {
        Box::pin(self.pod.pod.shutdown()).await;
    }
}

fn json_reply(body: &str) -> Vec<Step> {
    vec![Step::Send(response("200 OK", "", body))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_encoded_request_of_the_agent_that_is_recorded() -> Result<()> {
    let server = ModelServer::start(|_| json_reply(r#"{"state": "open"}"#)).await?;
    let arguments = json!({ "id": "x/a b?c", "fields": ["x,y", "z"], "X-Region": "eu" });
    let pod = ToolPod::start(&server, "get_order", arguments, |_| ()).await?;
    let reply = pod.call().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    assert_eq!(request.line, "GET /v1/orders/x%2Fa%20b%3Fc?fields=x%2Cy,z&tenant=t+1 HTTP/1.1");
    let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
    assert_eq!((header("x-region"), header("authorization")), ("eu", format!("Bearer {TOKEN}").as_str()));
    assert!(header("traceparent").parse::<Traceparent>().is_ok(), "{request:?}");
    assert!(request.key().is_empty(), "a request that reads has no key");
    assert_eq!(pod.tool_calls().await?, [None]);
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_changes_something_has_an_idempotency_key() -> Result<()> {
    let server = ModelServer::start(|_| vec![Step::Send(response("204 No Content", "", ""))]).await?;
    let arguments = json!({ "id": "7", "body": { "lines": [1] } });
    let pod = ToolPod::start(&server, "replace_order", arguments, |_| ()).await?;
    let reply = pod.call().await?;
    assert_eq!(reply.status, Status::Success, "{reply:?}");
    let requests = server.requests();
    assert_eq!(requests[0].line, "PUT /v1/orders/7?tenant=t+1 HTTP/1.1");
    assert_eq!(
        (&requests[0].body, requests[0].headers["content-type"].as_str()),
        (&json!({ "lines": [1] }), "application/json")
    );
    assert!(!requests[0].key().is_empty());
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_denies_a_tool_that_communicates_with_the_outside_and_nothing_is_sent() -> Result<()> {
    for internal in [false, true] {
        let server = ModelServer::start(|_| json_reply("{}")).await?;
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        write_tool_agent(&definitions, "get_order")?;
        // The generated file names two policies already.
        let path = definitions.dir().join(format!("agents/business_ops/{AGENT}.yaml"));
        let written =
            std::fs::read_to_string(&path)?.replace("audit_all_actions]", "audit_all_actions, no_external_tools]");
        std::fs::write(&path, written)?;
        let settings = HttpApiConfig { internal, ..api(folder.path(), &document(), server.url())? };
        let script = calls("get_order", json!({ "id": "7" }));
        let pod = ToolPod::with_definitions(folder, &definitions, settings, script).await?;
        let reply = pod.call().await?;
        assert_eq!(reply.status, Status::Success, "the model continues without the tool: {reply:?}");
        let (count, denied) = if internal { (1, None) } else { (0, Some("policy_denied".to_owned())) };
        assert_eq!((server.count(), pod.tool_calls().await?), (count, vec![denied]), "internal: {internal}");
        pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_calls_no_agent_and_so_no_tool() -> Result<()> {
    let server = ModelServer::start(|_| json_reply("{}")).await?;
    let pod = ToolPod::start(&server, "get_order", json!({ "id": "7" }), |_| ()).await?;
    let guest = pod.pod.pod.client(&UserId::new("guest")?);
    let reply =
        guest.run_agent(AgentId::new(AGENT)?, CallParams { inputs: text("x"), ..CallParams::default() }).await?;
    assert_eq!((reply.status, server.count()), (Status::Denied, 0), "{reply:?}");
    pod.shutdown().await;
    Ok(())
}
