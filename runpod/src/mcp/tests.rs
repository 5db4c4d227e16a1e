//! Messages of clients of each version, and what is sent to the pods for them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_client::{Events, Transport, TransportError};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::request::Query;
use greenroom_protocol::{Envelope, IdempotencyKey, Metadata, Reply, Request, Status, Values, WrittenVersion};

use super::*;

/// Records what is sent, and replies as a pod with two agents and a workflow.
#[derive(Default)]
pub(super) struct Pod {
    pub(super) sent: Mutex<Vec<Envelope>>,
    pub(super) failures: Mutex<VecDeque<Cause>>,
    /// Calls never return.
    pub(super) is_silent: bool,
}

fn outputs(request: &Request) -> Json {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
    match request {
        Request::Query(Query::Agents) => json!({"agents": [
            {"agent_id": "writer", "category": "content"}, {"agent_id": "auditor", "category": "finance"},
            {"agent_id": "gone", "category": "finance"},
        ]}),
        Request::Query(Query::Workflows) => json!({"workflows": [{"workflow_id": "report"}]}),
        Request::Query(Query::Agent { id }) => {
            json!({"agent": {"name": "A", "description": format!("is {id}")}, "input_schema": schema})
        }
        Request::Query(Query::Workflow { .. }) => json!({"workflow": {"name": "W", "description": "w"}}),
        _ => json!({"text": "done"}),
    }
}

#[async_trait]
impl Transport for Pod {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let is_call = matches!(envelope.request, Request::Invoke(_) | Request::StartRun(_));
        if is_call && self.is_silent {
            self.sent.lock().unwrap().push(envelope);
            return std::future::pending().await;
        }
        let is_unknown = matches!(&envelope.request, Request::Query(Query::Agent { id }) if id.as_str() == "gone");
        let unknown = is_unknown.then(|| Cause::new(ErrorCode::UnknownAgent, "there is no agent gone"));
        let error = if is_call { self.failures.lock().unwrap().pop_front() } else { unknown };
        let outputs: Values = serde_json::from_value(outputs(&envelope.request)).unwrap();
        self.sent.lock().unwrap().push(envelope);
        let status = error.as_ref().map_or(Status::Success, Status::from_cause);
        let (id, metadata, protocol_version) = ("run_1".to_owned(), Metadata::default(), WrittenVersion::OWN);
        Ok(Reply { id, status, outputs, error, metadata, protocol_version })
    }

    fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
        futures::stream::empty().boxed()
    }
}

pub(super) fn request(method: &str, params: Json) -> McpRequest {
    let text = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    match McpMessage::read(text.as_bytes()).unwrap() {
        McpMessage::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

async fn respond(pod: &Arc<Pod>, server: &McpServer, method: &str, params: Json) -> McpReply {
    let client = Client::new(pod.clone());
    let settings = CallSettings { key: IdempotencyKey::new("key-1").unwrap(), timeout: None, trace: None };
    server.respond(&client, request(method, params), settings).await.unwrap()
}

async fn result(server: &McpServer, method: &str, params: Json) -> Json {
    let reply = respond(&Arc::default(), server, method, params).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.document["result"].clone()
}

#[tokio::test]
async fn clients_of_every_version_are_introduced() {
    let server = McpServer::default();
    let shaken = result(&server, "initialize", json!({"protocolVersion": "2025-06-18"})).await;
    assert_eq!(
        (&shaken["protocolVersion"], &shaken["serverInfo"]["name"]),
        (&json!("2025-06-18"), &json!("greenroom"))
    );
    let stateless = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}});
    let discovered = result(&server, "server/discover", stateless).await;
    assert_eq!(
        (&discovered["supportedVersions"][0], &discovered["resultType"]),
        (&json!("2026-07-28"), &json!("complete"))
    );
    let unknown = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}});
    let refused = respond(&Arc::default(), &server, "tools/list", unknown).await;
    assert_eq!((refused.status, &refused.document["error"]["code"]), (400, &json!(-32_022)));
    assert_eq!(refused.document["error"]["data"]["supported"], json!(["2026-07-28"]));
}

#[tokio::test]
async fn agents_and_workflows_are_tools_with_the_schemas_of_their_inputs() {
    let page = result(&McpServer::default(), "tools/list", json!({})).await;
    let tools = page["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["agent_auditor", "agent_writer", "workflow_report"], "what is gone is left out");
    assert_eq!(tools[0]["description"], "is auditor");
    assert_eq!(
        (&tools[0]["inputSchema"]["required"][0], &tools[2]["inputSchema"]),
        (&json!("text"), &json!({"type": "object"}))
    );
    let rest = result(&McpServer::default(), "tools/list", json!({"cursor": "agent_writer"})).await;
    assert_eq!(rest["tools"].as_array().unwrap().len(), 1);
    let finance = McpServer::new(Selection { category: Some("finance".into()), tools: None });
    assert_eq!(result(&finance, "tools/list", json!({})).await["tools"].as_array().unwrap().len(), 1);
    let wrong = respond(&Arc::default(), &McpServer::default(), "tools/list", json!({"cursor": 5})).await;
    assert_eq!((wrong.status, &wrong.document["error"]["code"]), (200, &json!(-32_602)));
}

#[tokio::test]
async fn a_call_is_a_request_with_a_key_and_its_failure_is_a_result_with_a_code() {
    let (pod, server) = (Arc::new(Pod::default()), McpServer::default());
    let call = json!({"name": "agent_writer", "arguments": {"text": "x"}});
    let done = respond(&pod, &server, "tools/call", call.clone()).await.document["result"].clone();
    assert_eq!((&done["structuredContent"], &done["isError"]), (&json!({"text": "done"}), &json!(false)));
    assert_eq!(
        (&done["content"][0]["text"], &done["_meta"]["greenroom/requestId"]),
        (&json!("{\"text\":\"done\"}"), &json!("run_1"))
    );
    {
        let sent = pod.sent.lock().unwrap();
        let Request::Invoke(invoke) = &sent[0].request else { panic!("{sent:?}") };
        assert_eq!((invoke.agent.as_str(), &invoke.inputs["text"]), ("writer", &json!("x")));
        assert_eq!(sent[0].idempotency_key.as_ref().unwrap().as_str(), "key-1");
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traced = json!({"name": "agent_writer", "_meta": {"traceparent": format!("00-{trace}-00f067aa0ba902b7-01")}});
    respond(&pod, &server, "tools/call", traced).await;
    assert_eq!(pod.sent.lock().unwrap().last().unwrap().trace.as_ref().unwrap().as_str(), trace);
    pod.failures.lock().unwrap().push_back(Cause::new(ErrorCode::PolicyDenied, "no"));
    let denied = respond(&pod, &server, "tools/call", call).await.document["result"].clone();
    assert_eq!(
        (&denied["isError"], &denied["structuredContent"]["error"]["code"]),
        (&json!(true), &json!("policy_denied"))
    );
    for wrong in [
        json!({}),
        json!({"name": "agent_writer", "arguments": []}),
        json!({"name": "team_x"}),
        json!({"name": "agent_a b"}),
    ] {
        let refused = respond(&pod, &server, "tools/call", wrong.clone()).await;
        assert_eq!(refused.document["error"]["code"], -32_602, "{wrong}");
    }
    let selected = McpServer::new(Selection { category: None, tools: Some(vec!["workflow_report".into()]) });
    let excluded = respond(&pod, &selected, "tools/call", json!({"name": "agent_writer"})).await;
    assert_eq!(excluded.document["error"]["code"], -32_602);
    assert_eq!(respond(&pod, &server, "resources/list", json!({})).await.document["error"]["code"], -32_601);
}

#[tokio::test]
async fn a_caller_who_is_not_authenticated_has_no_reply() {
    let pod = Arc::new(Pod::default());
    pod.failures.lock().unwrap().push_back(Cause::new(ErrorCode::Unauthenticated, "who"));
    let client = Client::new(pod.clone());
    let settings = CallSettings { key: IdempotencyKey::new("k").unwrap(), timeout: None, trace: None };
    let call = request("tools/call", json!({"name": "workflow_report"}));
    let cause = McpServer::default().respond(&client, call, settings).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::Unauthenticated);
}
