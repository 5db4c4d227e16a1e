//! What each call sends, and what its caller receives, over a scripted transport.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_protocol::event::{RunEvent, RunEventKind};
use greenroom_protocol::{
    Cause, Deadline, ErrorCode, IdempotencyKey, Json, Metadata, Reply, Status, TraceId, Values, WrittenVersion,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::transport::{Observation, Progress, TransportError};

/// Records what is sent, and replies from a script; without one, by a success without outputs.
#[derive(Default)]
struct Script {
    sent: Mutex<Vec<Envelope>>,
    replies: Mutex<VecDeque<Result<Reply, TransportError>>>,
}

impl Script {
    fn replying(reply: Result<Reply, TransportError>) -> Arc<Self> {
        Arc::new(Self { replies: Mutex::new(VecDeque::from([reply])), ..Self::default() })
    }

    fn sent(&self) -> Vec<Envelope> {
        self.sent.lock().unwrap().clone()
    }
}

fn reply(outputs: Json, error: Option<Cause>) -> Reply {
    let Json::Object(members) = outputs else { panic!("{outputs} has no members") };
    Reply {
        id: "req_1".into(),
        status: error.as_ref().map_or(Status::Success, Status::from_cause),
        outputs: members.into_iter().collect(),
        error,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    }
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        self.sent.lock().unwrap().push(envelope);
        self.replies.lock().unwrap().pop_front().unwrap_or_else(|| Ok(reply(json!({}), None)))
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        let WatchedRun::Id(run) = run.clone() else { panic!("{run:?}") };
        let kind = RunEventKind::RunStarted { steps: 1 };
        let (at, protocol_version) = (Timestamp::from_micros(0), WrittenVersion::OWN);
        let event = RunEvent { run, seq: after.seq() + 1, n: 0, at, protocol_version, kind };
        futures::stream::iter([Ok(event)]).boxed()
    }
}

#[tokio::test]
async fn a_call_carries_the_credential_of_its_client_and_what_belongs_to_it_alone() {
    let script = Arc::new(Script::default());
    let client = Client::new(script.clone()).with_credential(Credential::ApiKey("secret".into()));
    let (deadline, trace) = (Deadline(Timestamp::from_micros(7)), TraceId::from_u128(3));
    let call = client.agent("a").input("text", "x").deadline(deadline).idempotency_key("once").trace(trace.clone());
    call.send().await.unwrap();
    client.run("run_1").approve("sign").send().await.unwrap();
    let sent = script.sent();
    assert_eq!(sent[0].credential, Some(Credential::ApiKey("secret".into())));
    assert_eq!(sent[0].idempotency_key, Some(IdempotencyKey::new("once").unwrap()));
    assert_eq!((sent[0].deadline, &sent[0].trace), (Some(deadline), &Some(trace)));
    assert_eq!(sent[0].request.inputs().unwrap()["text"], "x");
    let (run, step) = (RunId::new("run_1").unwrap(), StepId::new("sign").unwrap());
    assert_eq!(sent[1].request, Request::SignalRun(SignalRun { run, signal: Signal::Approve { step, call: None } }));
    assert_eq!(sent[1].credential, Some(Credential::ApiKey("secret".into())));
    assert_eq!((&sent[1].idempotency_key, sent[1].deadline), (&None, None), "nothing of a call remains in the client");
}

#[tokio::test]
async fn each_call_sends_its_own_verb() {
    let script = Arc::new(Script::default());
    let client = Client::new(script.clone());
    client.workflow("w").detach().model("p.m").send().await.unwrap();
    client.team("t").workflow("w").context("quarter", "Q1").send().await.unwrap();
    client.run("run_1").resume().send().await.unwrap();
    let params = CallParams { detach: true, ..CallParams::default() };
    client.run_workflow(WorkflowId::new("v").unwrap(), params).await.unwrap();
    let sent = script.sent();
    assert!(matches!(&sent[0].request, Request::StartRun(start) if start.detach && start.workflow.as_str() == "w"));
    assert!(matches!(&sent[1].request, Request::StartTeam(start) if start.context["quarter"] == "Q1" && !start.detach));
    assert_eq!(sent[2].request.verb(), "resume_run");
    assert!(matches!(&sent[3].request, Request::StartRun(start) if start.detach && start.workflow.as_str() == "v"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    summary: String,
    words: u32,
}

#[tokio::test]
async fn inputs_and_outputs_are_typed() {
    let outputs = Summary { summary: "short".into(), words: 1 };
    let script = Script::replying(Ok(reply(serde_json::to_value(&outputs).unwrap(), None)));
    let client = Client::new(script.clone());
    assert_eq!(client.agent("a").inputs(&outputs).execute_as::<Summary>().await.unwrap(), outputs);
    assert_eq!(script.sent()[0].request.inputs().unwrap()["words"], 1);
}

#[tokio::test]
async fn outputs_of_another_type_are_a_decoding_error() {
    let script = Script::replying(Ok(reply(json!({ "summary": 3 }), None)));
    let error = Client::new(script).agent("a").execute_as::<Summary>().await.unwrap_err();
    assert!(matches!(error, Error::Decode(_)) && !error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_refused_call_has_the_cause_and_send_has_its_reply() {
    let cause = Cause::new(ErrorCode::PolicyDenied, "no");
    let client = Client::new(Script::replying(Ok(reply(json!({}), Some(cause.clone())))));
    let error = client.agent("a").execute().await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (Some(ErrorCode::PolicyDenied), false));
    let client = Client::new(Script::replying(Ok(reply(json!({}), Some(cause)))));
    assert_eq!(client.agent("a").send().await.unwrap().status, Status::Denied);
}

#[tokio::test]
async fn a_call_with_an_invalid_id_or_value_is_refused_and_not_sent() {
    let script = Arc::new(Script::default());
    let client = Client::new(script.clone());
    for call in [
        client.agent("a b"),
        client.team("t").workflow(""),
        client.workflow("w").idempotency_key(" "),
        client.agent("a").inputs(&[1, 2]),
    ] {
        let error = call.execute().await.unwrap_err();
        let code = error.code().unwrap();
        assert!(matches!(code, ErrorCode::InvalidRequest | ErrorCode::InvalidInput), "{error}");
    }
    assert!(matches!(client.run("").get().send().await, Err(TransportError::Rejected(_))));
    assert!(matches!(client.run("").watch().next().await, Some(Err(TransportError::Rejected(_)))));
    assert!(script.sent().is_empty());
}

#[tokio::test]
async fn a_transport_without_text_streams_the_reply_alone() {
    let client = Client::new(Arc::new(Script::default()));
    let progress: Vec<_> = client.agent("a").stream().map(Result::unwrap).collect().await;
    assert!(matches!(&progress[..], [Progress::Reply(reply)] if reply.outputs == Values::new()), "{progress:?}");
}

#[tokio::test]
async fn a_watch_begins_after_the_event_that_its_caller_has() {
    let client = Client::new(Arc::new(Script::default()));
    let observed: Vec<_> =
        client.run("run_1").watch_after(EventNumber::after_entry(4)).map(Result::unwrap).collect().await;
    assert!(matches!(&observed[..], [Observation::Event(event)] if event.seq == 5), "{observed:?}");
    let events: Vec<_> =
        client.watch(&RunId::new("run_1").unwrap(), EventNumber::START).map(Result::unwrap).collect().await;
    assert_eq!(events[0].seq, 1);
}
