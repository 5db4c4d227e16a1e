//! The request of each message, and when `call` and `cast` return.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream;
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::{Envelope, ErrorCode, Metadata, PodId, Status, WrittenVersion};

use super::*;
use crate::transport::{Events, ProgressStream, Transport};

/// A transport whose pods accept each request and never finish a streamed one; without pods, none accepts.
struct Pods {
    sent: Mutex<Vec<Request>>,
    accept: bool,
}

impl Pods {
    fn new(accept: bool) -> Arc<Self> {
        Arc::new(Self { sent: Mutex::default(), accept })
    }
}

#[async_trait]
impl Transport for Pods {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        self.sent.lock().unwrap().push(envelope.request);
        Ok(Reply {
            id: "req_1".into(),
            status: Status::Success,
            outputs: Values::from([("value".to_owned(), Json::from(3))]),
            error: None,
            metadata: Metadata::default(),
            protocol_version: WrittenVersion::OWN,
        })
    }

    fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
        stream::empty().boxed()
    }

    fn stream(self: Arc<Self>, envelope: Envelope) -> ProgressStream {
        self.sent.lock().unwrap().push(envelope.request);
        if !self.accept {
            return stream::empty().boxed();
        }
        let accepted = Progress::Accepted { pod: PodId::new("pod").unwrap(), run: None };
        stream::iter([Ok(accepted)]).chain(stream::pending()).boxed()
    }
}

fn run() -> RunId {
    RunId::new("run_1").unwrap()
}

#[tokio::test]
async fn a_call_returns_the_reply_of_its_message() {
    let pods = Pods::new(true);
    let agent = ActorRef::<AgentMessage>::new(Client::new(pods.clone()), AgentId::new("a").unwrap());
    let message = AgentMessage::Execute { inputs: Values::new(), context: Values::new() };
    assert_eq!(agent.call(message).await.unwrap()["value"], 3);
    let context = ActorRef::<ContextMessage>::new(Client::new(pods.clone()), run());
    context.call(ContextMessage::Read(vec![ContextKey::new("k").unwrap()])).await.unwrap();
    let write = ContextMessage::Write {
        key: ContextKey::new("k").unwrap(),
        expect: Some(0),
        change: ContextChange::Put(Json::from(1)),
    };
    context.call(write).await.unwrap();
    let verbs: Vec<_> = pods.sent.lock().unwrap().iter().map(Request::verb).collect();
    assert_eq!(verbs, ["invoke", "context_read", "context_write"]);
}

#[tokio::test]
async fn a_cast_returns_once_a_pod_has_accepted_the_message() {
    let pods = Pods::new(true);
    let target = ActorRef::<RunMessage>::new(Client::new(pods.clone()), run());
    let step = StepId::new("sign").unwrap();
    for message in [RunMessage::Cancel, RunMessage::Approve(step.clone()), RunMessage::Reject(step), RunMessage::Resume]
    {
        target.cast(message).await.unwrap();
    }
    let resources: Vec<_> = pods.sent.lock().unwrap().iter().map(Request::resource).collect();
    assert_eq!(resources, ["run_1"; 4]);
    let lost = ActorRef::<RunMessage>::new(Client::new(Pods::new(false)), run()).cast(RunMessage::Cancel).await;
    assert!(matches!(lost, Err(Error::Transport(TransportError::ConnectionLost))), "{lost:?}");
}

#[tokio::test]
async fn an_event_without_a_name_is_refused_and_not_sent() {
    let pods = Pods::new(true);
    let target = ActorRef::<RunMessage>::new(Client::new(pods.clone()), run());
    let error = target.call(RunMessage::Event { name: String::new(), data: Json::Null }).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidRequest));
    assert!(pods.sent.lock().unwrap().is_empty());
}
