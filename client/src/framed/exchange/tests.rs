//! When a request is sent again, and when it is not. The clock of the runtime is paused.

use futures::TryStreamExt;
use greenroom_protocol::frame::FrameId;

use super::*;
use crate::framed::script::{Ending, FramedReply, Script, accepted, message, replied};

const TIMEOUT: Duration = Duration::from_secs(60);

fn exchange(script: &Arc<Script>, is_repeatable: bool) -> Exchange {
    Exchange::new(script.clone(), message(), is_repeatable, TIMEOUT)
}

fn text(n: u64, text: &str) -> Frame {
    Frame::Delta { id: FrameId { fence: 0, seq: 0, n }, step: None, text: text.into() }
}

fn code(reply: &Reply) -> Option<ErrorCode> {
    reply.error.as_ref().map(|cause| cause.code)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_pod_accepts_in_time_is_sent_again_with_the_time_that_remains() {
    let lost = FramedReply(Vec::new(), Ending::Silence);
    let script = Script::new([lost, FramedReply(vec![accepted(), replied("req_1", None)], Ending::End)]);
    let reply = exchange(&script, true).reply().await.unwrap();
    assert_eq!((reply.id.as_str(), reply.error), ("req_1", None));
    let timeouts: Vec<_> = script.sent().iter().map(|message| message.headers.timeout.unwrap()).collect();
    assert_eq!(timeouts[0], TIMEOUT);
    let earlier = TIMEOUT - timeouts[1];
    assert!(earlier >= FIRST_FRAME_WAIT && earlier < FIRST_FRAME_WAIT + Duration::from_secs(1), "{earlier:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_pods_is_sent_until_its_deadline_and_was_not_executed() {
    let script = Script::new([FramedReply(Vec::new(), Ending::NoResponders)]);
    let started_at = Instant::now();
    let error = exchange(&script, false).reply().await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert!(started_at.elapsed() <= TIMEOUT, "{:?}", started_at.elapsed());
    let least = TIMEOUT.as_millis() / UNREACHED_DELAY_MAX.as_millis();
    assert!(script.sent().len() as u128 > least, "{} in {TIMEOUT:?}", script.sent().len());
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_pod_falls_silent_is_repeated_only_if_it_has_one_effect() {
    let replies =
        || [FramedReply(vec![accepted()], Ending::Silence), FramedReply(vec![replied("req_1", None)], Ending::End)];
    let script = Script::new(replies());
    assert_eq!(exchange(&script, true).reply().await.unwrap().id, "req_1");
    let script = Script::new(replies());
    let error = exchange(&script, false).reply().await.unwrap_err();
    assert!(matches!(error, TransportError::ConnectionLost), "{error}");
    assert_eq!(script.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_works_is_not_silent() {
    let script = Script::new([FramedReply(vec![accepted()], Ending::Working)]);
    let reply = exchange(&script, true).reply().await.unwrap();
    assert_eq!((code(&reply), script.sent().len()), (Some(ErrorCode::TimedOut), 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_repeated_where_the_code_of_its_reply_permits_it_and_nowhere_else() {
    for (first, sent) in [(ErrorCode::PolicyDenied, 1), (ErrorCode::InvalidInput, 1), (ErrorCode::StoreUnavailable, 2)]
    {
        let last = FramedReply(vec![replied("req_2", None)], Ending::End);
        let script = Script::new([FramedReply(vec![replied("req_1", Some(first))], Ending::End), last]);
        let reply = exchange(&script, true).reply().await.unwrap();
        assert_eq!(script.sent().len(), sent, "{first}");
        assert_eq!(code(&reply), (sent == 1).then_some(first));
    }
}

#[tokio::test(start_paused = true)]
async fn an_execution_that_fails_again_and_again_is_not_repeated_without_end() {
    let failing = || FramedReply(vec![accepted(), replied("req_1", Some(ErrorCode::ModelFailed))], Ending::End);
    let script = Script::new((0..10).map(|_| failing()));
    let reply = exchange(&script, true).reply().await.unwrap();
    assert_eq!(code(&reply), Some(ErrorCode::ModelFailed));
    assert_eq!(script.sent().len(), EXECUTIONS_MAX as usize);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_capacity_receives_the_request_again_after_the_delay_that_it_names() {
    let cause = Cause::new(ErrorCode::Overloaded, "full").with_retry_after(Duration::from_secs(7));
    let refused = FramedReply(vec![Frame::Refused { cause }], Ending::End);
    let script = Script::new([refused, FramedReply(vec![replied("req_1", None)], Ending::End)]);
    let started_at = Instant::now();
    assert_eq!(exchange(&script, false).reply().await.unwrap().id, "req_1");
    assert!(started_at.elapsed() >= Duration::from_secs(7), "{:?}", started_at.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_accepted_and_has_no_reply_at_its_deadline_has_timed_out() {
    let replies = (0..10).map(|_| FramedReply(vec![accepted()], Ending::Silence));
    let reply = exchange(&Script::new(replies), true).reply().await.unwrap();
    assert_eq!((reply.status, code(&reply)), (Status::TimedOut, Some(ErrorCode::TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn the_text_of_a_lost_attempt_is_void_and_no_text_arrives_twice() {
    let first = FramedReply(vec![accepted(), text(1, "one"), text(1, "one"), text(2, "two")], Ending::Silence);
    let second = FramedReply(vec![accepted(), text(1, "new"), replied("req_1", None)], Ending::End);
    let progress: Vec<_> = exchange(&Script::new([first, second]), true).into_stream().try_collect().await.unwrap();
    let texts: Vec<_> = progress
        .iter()
        .map(|progress| match progress {
            Progress::Accepted { .. } => "accepted",
            Progress::Text(text) => text.as_str(),
            Progress::Restarted => "restarted",
            Progress::Reply(_) => "reply",
        })
        .collect();
    assert_eq!(texts, ["accepted", "one", "two", "restarted", "accepted", "new", "reply"]);
}

#[test]
fn a_write_to_a_context_has_a_key_only_with_the_version_that_its_writer_expects() {
    let write = |expect: serde_json::Value| {
        let change = serde_json::json!({ "put": 1 });
        Request::from_json(serde_json::json!({
            "verb": "context_write", "run": "run_1", "key": "k", "expect": expect, "change": change,
        }))
        .unwrap()
    };
    assert!(takes_key(&write(3.into())) && !takes_key(&write(serde_json::Value::Null)));
}
