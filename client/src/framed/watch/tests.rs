//! How a watch continues after its pod or its connection is lost. The clock of the runtime is paused.

use futures::TryStreamExt;
use greenroom_protocol::event::RunEvent;
use greenroom_protocol::frame::FrameId;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::subject::body::WatchBody;
use greenroom_protocol::{ErrorCode, Metadata, Status, StepId, Timestamp, Values, WrittenVersion};

use super::*;
use crate::framed::script::{Ending, FramedReply, Script, accepted, replied};

const RUN: &str = "run_1";

fn watch(script: &Arc<Script>, after: EventNumber) -> Observations {
    let subjects = Subjects::new("greenroom").unwrap();
    RunWatch::new(script.clone(), subjects, RequestHeaders::default(), RunId::new(RUN).unwrap(), after).into_stream()
}

fn frame(fence: u64, seq: u64, kind: RunEventKind) -> Frame {
    let (run, protocol_version) = (RunId::new(RUN).unwrap(), WrittenVersion::OWN);
    let event = RunEvent { run, seq, n: 0, at: Timestamp::from_micros(0), protocol_version, kind };
    Frame::Event { id: FrameId { fence, seq, n: 0 }, event }
}

fn event(fence: u64, seq: u64) -> Frame {
    frame(fence, seq, RunEventKind::RunStarted { steps: 1 })
}

fn ended(seq: u64) -> Frame {
    let reply = Reply {
        id: RUN.into(),
        status: Status::Success,
        outputs: Values::new(),
        error: None,
        metadata: Metadata::default(),
        protocol_version: WrittenVersion::OWN,
    };
    frame(9, seq, RunEventKind::RunEnded { reply: Box::new(reply) })
}

fn numbers(observations: &[Observation]) -> Vec<u64> {
    let number = |observation: &Observation| match observation {
        Observation::Event(event) => Some(event.seq),
        Observation::Text { .. } | Observation::Restarted { .. } => None,
    };
    observations.iter().filter_map(number).collect()
}

/// The numbers after which the watch was opened.
fn opened_after(script: &Script) -> Vec<String> {
    let number = |body: &[u8]| serde_json::from_slice::<WatchBody>(body).unwrap().after.to_string();
    script.sent().iter().map(|message| number(&message.body)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_watch_continues_after_its_newest_event_and_no_event_arrives_twice() {
    let first = FramedReply(vec![accepted(), event(1, 1), event(1, 2)], Ending::Silence);
    let second = FramedReply(vec![accepted(), event(2, 2), event(2, 3)], Ending::NoResponders);
    let third = FramedReply(vec![ended(4)], Ending::End);
    let script = Script::new([first, second, third]);
    let observations: Vec<_> = watch(&script, EventNumber::START).try_collect().await.unwrap();
    assert_eq!(numbers(&observations), [1, 2, 3, 4]);
    assert_eq!(opened_after(&script), ["0", "2.0", "3.0"], "the newest entry may have further events");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_lost_between_two_events_of_one_entry_continues_with_the_second() {
    let numbered = |n| match event(1, 5) {
        Frame::Event { id, event } => Frame::Event { id, event: RunEvent { n, ..event } },
        other => other,
    };
    let first = FramedReply(vec![accepted(), numbered(0)], Ending::NoResponders);
    let second = FramedReply(vec![accepted(), numbered(1), ended(6)], Ending::End);
    let script = Script::new([first, second]);
    let observations: Vec<_> = watch(&script, EventNumber::START).try_collect().await.unwrap();
    assert_eq!(numbers(&observations), [5, 5, 6]);
    assert_eq!(opened_after(&script), ["0", "5.0"]);
}

#[tokio::test(start_paused = true)]
async fn frames_of_an_earlier_owner_are_dropped_and_a_restart_is_observed() {
    let position = |fence, seq, n| FrameId { fence, seq, n };
    let step = StepKey { step: StepId::new("draft").unwrap(), index: None };
    let text = |id, text: &str| Frame::Delta { id, step: Some(step.clone()), text: text.to_owned() };
    let restarted = Frame::Restarted { id: position(4, 1, 1), step: None };
    let (first, thawed, second) = (position(3, 1, 1), position(3, 1, 2), position(4, 2, 1));
    let texts = (text(first, "old"), text(thawed, "older"), text(second, "new"));
    let frames = vec![event(3, 1), texts.0, restarted, texts.1, event(4, 2), texts.2, ended(3)];
    let script = Script::new([FramedReply(frames, Ending::End)]);
    let observations: Vec<_> = watch(&script, EventNumber::START).try_collect().await.unwrap();
    assert_eq!(numbers(&observations), [1, 2, 3]);
    assert_eq!(observations[2], Observation::Restarted { id: position(4, 1, 1), step: None });
    let texts = observations.iter().filter_map(|observation| match observation {
        Observation::Text { text, .. } => Some(text.as_str()),
        Observation::Event(_) | Observation::Restarted { .. } => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["old", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_renewed_while_its_pod_works() {
    let script =
        Script::new([FramedReply(vec![accepted()], Ending::Working), FramedReply(vec![ended(1)], Ending::End)]);
    let started_at = Instant::now();
    let observations: Vec<_> = watch(&script, EventNumber::START).try_collect().await.unwrap();
    assert_eq!((numbers(&observations), script.sent().len()), (vec![1], 2));
    assert_eq!(started_at.elapsed().as_secs(), RENEWAL_INTERVAL.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_refused_watch_ends_with_its_cause_unless_it_may_pass() {
    let refused = |code| FramedReply(vec![Frame::Refused { cause: Cause::new(code, "scripted") }], Ending::End);
    let script = Script::new([refused(ErrorCode::ShuttingDown), refused(ErrorCode::PolicyDenied)]);
    let error = watch(&script, EventNumber::after_entry(7)).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(&error, TransportError::Rejected(cause) if cause.code == ErrorCode::PolicyDenied), "{error}");
    assert_eq!(opened_after(&script), ["7", "7"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_after_the_last_event_ends_at_once() {
    let script = Script::new([FramedReply(vec![accepted(), replied(RUN, Some(ErrorCode::StepFailed))], Ending::End)]);
    assert!(watch(&script, EventNumber::after_entry(9)).try_collect::<Vec<_>>().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_pods_ends_after_a_bounded_time() {
    let started_at = Instant::now();
    let error = watch(&Script::new([]), EventNumber::START).try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");
    assert!(started_at.elapsed() < OUTAGE_MAX + Duration::from_secs(10), "{:?}", started_at.elapsed());
}
