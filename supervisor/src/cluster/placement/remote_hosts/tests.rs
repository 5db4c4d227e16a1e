//! Placed calls over a transport that a test scripts.

use std::collections::VecDeque;

use futures::StreamExt as _;
use greenroom_protocol::request::{CallOptions, Invoke};
use greenroom_protocol::{
    AgentId, BootTime, ContentHash, Envelope, IdGenerator, Metadata, Reply, Request, Status, Timestamp, Values,
    WrittenVersion,
};
use greenroom_rego::{Resource, testing};

use super::*;
use crate::cluster::keys::ClusterSecret;
use crate::cluster::peer::outcome::reply_bytes;
use crate::cluster::session::dial::DialError;

/// A clock that follows the paused clock of the runtime.
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).saturating_add(self.0.elapsed())
    }
    fn boot_time(&self) -> BootTime {
        BootTime::from_duration(self.0.elapsed())
    }
}

struct Counter(Mutex<u128>);

impl IdGenerator for Counter {
    fn next_id(&self) -> u128 {
        let mut next = self.0.lock().unwrap();
        *next += 1;
        *next
    }
}

type Scripted = Result<Reply, CallError>;

/// Replies in the order of the script, and records the pods and the envelopes.
#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Scripted>>,
    /// The pods that receive nothing.
    away: Mutex<Vec<String>>,
    calls: Mutex<Vec<(String, Envelope)>>,
}

#[async_trait]
impl PeerTransport for Script {
    async fn subscribe(&self, _: &PodId, _: &CallKey) -> BoxStream<'static, AnswerPart> {
        futures::stream::pending().boxed()
    }

    async fn call(&self, pod: &PodId, body: &[u8], _: Duration) -> Result<Vec<u8>, CallError> {
        self.calls.lock().unwrap().push((pod.to_string(), serde_json::from_slice(body).unwrap()));
        if self.away.lock().unwrap().contains(&pod.to_string()) {
            return Err(CallError::NotReady);
        }
        let scripted = self.replies.lock().unwrap().pop_front().unwrap();
        scripted.map(|reply| reply_bytes(&reply))
    }
}

fn reply(error: Option<Cause>) -> Reply {
    let status = error.as_ref().map_or(Status::Success, Status::from_cause);
    Reply {
        id: "req_1".to_owned(),
        status,
        outputs: Values::new(),
        error,
        metadata: Metadata::from(Usage::default()),
        protocol_version: WrittenVersion::OWN,
    }
}

fn refusal() -> Scripted {
    Ok(reply(Some(Cause::new(ErrorCode::Overloaded, "full"))))
}

fn pod(name: &str, labels: &[&str]) -> PodInfo {
    PodInfo {
        pod: PodId::new(name).unwrap(),
        version: "1".to_owned(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        capacity: 0,
        trees: 0,
        reads: (1, 1),
        lease_age_ms: 0,
        expires_in_ms: 3_000,
    }
}

fn invoke() -> Invoke {
    Invoke {
        agent: AgentId::new("placed_agent").unwrap(),
        inputs: Values::new(),
        context: Values::new(),
        version: Some(ContentHash::from_content(b"agent")),
        key: Some(CallKey::new("run_1/step").unwrap()),
        options: CallOptions::default(),
        approvals: None,
    }
}

struct Harness {
    placed: PlacedCalls,
    pods: LivePods,
    script: Arc<Script>,
    call: RemoteCall,
}

async fn harness(pods: Vec<PodInfo>, replies: Vec<Scripted>) -> Harness {
    let clock = Arc::new(TokioClock(tokio::time::Instant::now()));
    let script = Arc::new(Script { replies: Mutex::new(replies.into()), ..Script::default() });
    let own = PodId::new("own").unwrap();
    let secret = ClusterSecret::new("a secret of sixteen bytes or more", "green").unwrap();
    let ids = Arc::new(Counter(Mutex::new(0)));
    let live = LivePods::default();
    live.set(pods);
    let agent = Resource::Agent { agent: invoke().agent, version: ContentHash::from_content(b"agent") };
    let permit = testing::permit(9, Request::Invoke(invoke()), agent, clock.now()).await.unwrap();
    let call = RemoteCall { grant: permit.grant().clone(), invoke: invoke(), fence: None, sink: None };
    let placed = PlacedCalls::new(PlacedCallsParts {
        pod: own.clone(),
        labels: vec!["eu".to_owned()],
        pods: live.clone(),
        issuer: DelegationIssuer::new(&secret, own, clock.clone(), ids).unwrap(),
        transport: script.clone(),
        clock,
    });
    Harness { placed, pods: live, script, call }
}

impl Harness {
    async fn invoke(&self) -> ExecutionResult {
        self.placed.invoke(&["gpu".to_owned()], self.call.clone()).await
    }

    /// The pods that were called, in this order.
    fn called(&self) -> Vec<String> {
        self.script.calls.lock().unwrap().iter().map(|(pod, _)| pod.clone()).collect()
    }
}

#[tokio::test]
async fn a_host_is_this_pod_another_one_or_none() {
    let harness = harness(vec![pod("a", &["gpu"])], vec![]).await;
    assert_eq!(harness.placed.host(&["eu".to_owned()]), Host::Here);
    assert_eq!(harness.placed.host(&["gpu".to_owned()]), Host::Pod(PodId::new("a").unwrap()));
    assert_eq!(harness.placed.host(&["tpu".to_owned()]), Host::None);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_refuses_is_followed_by_another_one_with_the_same_key() {
    let replies = vec![refusal(), refusal(), Ok(reply(None))];
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    harness.invoke().await.unwrap();
    assert_eq!(harness.called(), ["a", "b", "a"], "all of them were tried, then the first again");
    let calls = harness.script.calls.lock().unwrap();
    let keys: Vec<_> = calls.iter().map(|(_, envelope)| envelope.request.clone()).collect();
    assert!(keys.iter().all(|request| *request == Request::Invoke(invoke())));
    let tokens: Vec<_> = calls.iter().map(|(_, envelope)| envelope.credential.clone()).collect();
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2], "each attempt has a delegation of its own");
}

fn lost() -> Scripted {
    Err(CallError::Lost)
}

/// A reply that is lost, and as many attempts after it that the pod does not receive.
fn lost_and_unreached(attempts: usize) -> Vec<Scripted> {
    std::iter::once(lost()).chain((0..attempts).map(|_| Err(CallError::NotReady))).collect()
}

#[tokio::test(start_paused = true)]
async fn while_the_pod_that_may_execute_the_call_lives_no_other_one_is_called() {
    let unreached = || Err(CallError::NotReady);
    let dial = Err(CallError::Dial(DialError::NoPod));
    let replies = vec![lost(), lost(), unreached(), dial, unreached(), lost(), Ok(reply(None))];
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    let joined = harness.invoke().await.unwrap();
    assert_eq!(harness.called(), ["a"; 7]);
    assert!(!joined.usage.estimated, "the reply has the usage of the execution that was joined");
}

#[tokio::test(start_paused = true)]
async fn once_the_lease_of_the_pod_that_may_execute_the_call_is_over_another_one_is_called() {
    let replies = lost_and_unreached(1_000);
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    let dies = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let called = harness.called();
        assert!(called.len() > 10 && called.iter().all(|pod| pod == "a"), "{called:?}");
        harness.script.away.lock().unwrap().push("a".to_owned());
        *harness.script.replies.lock().unwrap() = vec![Ok(reply(None))].into();
        harness.pods.set(vec![pod("b", &["gpu"])]);
    };
    let (result, ()) = tokio::join!(harness.invoke(), dies);
    assert!(result.unwrap().usage.estimated, "nobody knows what the pod had paid before it died");
    assert_eq!(harness.called().last().map(String::as_str), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_absent_for_less_than_a_lease_has_not_died() {
    let replies = lost_and_unreached(1_000);
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    let is_absent = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            harness.pods.set(vec![pod("b", &["gpu"])]);
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            harness.pods.set(vec![pod("a", &["gpu"]), pod("b", &["gpu"])]);
        }
        *harness.script.replies.lock().unwrap() = vec![Ok(reply(None))].into();
    };
    let (result, ()) = tokio::join!(harness.invoke(), is_absent);
    assert!(!result.unwrap().usage.estimated, "the call has joined its execution");
    assert!(harness.called().iter().all(|pod| pod == "a"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_the_death_of_a_pod_that_may_have_paid_is_marked_too() {
    let failed = Ok(reply(Some(Cause::new(ErrorCode::HandlerFailed, "no"))));
    let own = || pod("own", &["eu"]);
    for (left, code, last) in [
        (vec![own(), pod("b", &["gpu"])], ErrorCode::HandlerFailed, Some(failed)),
        (vec![own()], ErrorCode::Interrupted, None),
    ] {
        let replies = lost_and_unreached(1_000);
        let harness = harness(vec![pod("a", &["gpu"])], replies).await;
        let dies = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            harness.script.away.lock().unwrap().push("a".to_owned());
            *harness.script.replies.lock().unwrap() = last.into_iter().collect();
            harness.pods.set(left);
        };
        let (result, ()) = tokio::join!(harness.invoke(), dies);
        let failure = result.unwrap_err();
        assert_eq!((failure.cause.code, failure.usage.estimated), (code, true), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_database_is_away_no_pod_has_died() {
    let replies = lost_and_unreached(1_000);
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    let is_away = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        harness.pods.set(vec![]);
        tokio::time::sleep(Duration::from_secs(20)).await;
        *harness.script.replies.lock().unwrap() = vec![Ok(reply(None))].into();
        harness.pods.set(vec![pod("a", &["gpu"]), pod("b", &["gpu"])]);
    };
    let (result, ()) = tokio::join!(harness.invoke(), is_away);
    assert!(!result.unwrap().usage.estimated, "the call has joined its execution");
    let called = harness.called();
    assert!(called.len() > 20 && called.iter().all(|pod| pod == "a"), "{called:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_lost_the_call_and_refuses_it_is_followed_by_another_one() {
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], vec![lost(), refusal(), Ok(reply(None))]).await;
    let result = harness.invoke().await.unwrap();
    assert_eq!(harness.called(), ["a", "a", "b"], "it would have joined an execution");
    assert!(result.usage.estimated, "one that has failed meanwhile may have been paid");
}

/// A pod refuses the times of a delegation because its clock shows this many microseconds more.
fn other_clock(later: i64) -> Scripted {
    let time = 1_700_000_000_000_000 + later;
    let cause = Cause::new(ErrorCode::Unauthenticated, "the delegation has expired");
    Ok(reply(Some(cause.with_details(serde_json::json!({ "pod_time_us": time })))))
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_another_clock_is_called_again_with_a_delegation_of_its_time() {
    let harness = harness(vec![pod("a", &["gpu"])], vec![other_clock(40_000_000), Ok(reply(None))]).await;
    assert!(!harness.invoke().await.unwrap().usage.estimated);
    assert_eq!(harness.called(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_with_another_clock_may_still_execute_an_earlier_attempt() {
    let replies = vec![lost(), other_clock(-40_000_000), Ok(reply(None))];
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    assert!(!harness.invoke().await.unwrap().usage.estimated);
    assert_eq!(harness.called(), ["a", "a", "a"], "the repetition joins it");
}

#[tokio::test]
async fn a_delegation_that_is_refused_for_another_reason_is_not_repeated() {
    let refused = Cause::new(ErrorCode::Unauthenticated, "the delegation was accepted before");
    let harness = harness(vec![pod("a", &["gpu"])], vec![Ok(reply(Some(refused)))]).await;
    assert_eq!(harness.invoke().await.unwrap_err().cause.code, ErrorCode::Unauthenticated);
    assert_eq!(harness.called(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_execute_the_call_and_remains_away_is_named_when_the_deadline_is_over() {
    let replies = lost_and_unreached(10_000);
    let harness = harness(vec![pod("a", &["gpu"]), pod("b", &["gpu"])], replies).await;
    let ExecutionFailure { cause, usage } = harness.invoke().await.unwrap_err();
    assert_eq!((cause.code, usage.estimated), (ErrorCode::TimedOut, true));
    assert!(cause.message.contains("the pod a may have executed the call"), "{cause}");
    assert!(harness.called().iter().all(|pod| pod == "a"));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_repeated_until_the_deadline_and_then_reported() {
    let replies = (0..10_000).map(|_| refusal()).collect();
    let harness = harness(vec![pod("a", &["gpu"])], replies).await;
    let ExecutionFailure { cause, usage } = harness.invoke().await.unwrap_err();
    assert_eq!((cause.code, usage.estimated), (ErrorCode::Overloaded, false), "no pod has executed it");
    // The default deadline is five minutes, and the longest delay a second.
    assert!((290..400).contains(&harness.called().len()), "{}", harness.called().len());
}

#[tokio::test]
async fn a_failure_of_the_execution_is_not_repeated() {
    for code in [ErrorCode::HandlerFailed, ErrorCode::ModelOverloaded, ErrorCode::LeaseLost] {
        let harness = harness(vec![pod("a", &["gpu"])], vec![Ok(reply(Some(Cause::new(code, "no"))))]).await;
        assert_eq!(harness.invoke().await.unwrap_err().cause.code, code);
    }
    let timed_out = harness(vec![pod("a", &["gpu"])], vec![Err(CallError::TimedOut)]).await;
    let ExecutionFailure { cause, usage } = timed_out.invoke().await.unwrap_err();
    assert_eq!((cause.code, usage.estimated), (ErrorCode::TimedOut, true), "the pod may have paid");
}

#[tokio::test]
async fn without_a_pod_of_these_labels_the_call_fails_at_once() {
    let harness = harness(vec![pod("a", &["cpu"])], vec![]).await;
    assert_eq!(harness.invoke().await.unwrap_err().cause.code, ErrorCode::NoPodForLabels);
    assert!(harness.called().is_empty());
}
