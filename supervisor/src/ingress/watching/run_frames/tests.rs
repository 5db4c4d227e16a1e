//! What a watcher receives when its run has one owner after the other.

use greenroom_protocol::{StepId, Timestamp, WrittenVersion};

use super::*;

fn key() -> StepKey {
    StepKey { step: StepId::new("write").unwrap(), index: None }
}

fn text(fence: u64, seq: u64, n: u64, text: &str) -> StepText {
    let id = FrameId { fence, seq, n };
    StepText { id, step: key(), text: Some(text.to_owned()), at: Timestamp::default(), is_last: false }
}

fn event(seq: u64, n: u32, kind: RunEventKind) -> RunEvent {
    let (run, at) = (RunId::new("run_1").unwrap(), Timestamp::default());
    RunEvent { run, seq, n, at, protocol_version: WrittenVersion::OWN, kind }
}

/// The texts that the watcher receives; `None` stands for one that is void.
fn received(pending: PendingFrames) -> Vec<Option<String>> {
    let text = |frame: Frame| match frame {
        Frame::Delta { text, .. } => Some(Some(text)),
        Frame::Restarted { .. } => Some(None),
        Frame::Event { .. }
        | Frame::Accepted { .. }
        | Frame::Working { .. }
        | Frame::Reply { .. }
        | Frame::Refused { .. }
        | Frame::Unknown => None,
    };
    pending.frames.into_iter().filter_map(text).collect()
}

fn texts(expected: &[Option<&str>]) -> Vec<Option<String>> {
    expected.iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn the_text_of_a_thawed_owner_is_not_mixed_with_that_of_its_successor() {
    let mut pending = PendingFrames::default();
    pending.on_text(text(1, 5, 1, "The "));
    pending.on_text(text(2, 9, 1, "A "));
    pending.on_text(text(1, 5, 2, "quarter"));
    pending.on_text(text(2, 9, 2, "year"));
    assert_eq!(received(pending), texts(&[Some("The "), None, Some("A "), Some("year")]));
}

#[test]
fn a_restarted_step_is_reported_once_whichever_of_its_event_and_its_text_is_first() {
    let restarted = || RunEventKind::StepRestarted { step: key().step, index: None };
    let mut pending = PendingFrames::default();
    pending.on_text(text(1, 5, 1, "a"));
    pending.fence = 2;
    pending.on_event(event(9, 1, restarted()));
    pending.on_text(text(2, 9, 1, "b"));
    assert_eq!(received(pending), texts(&[Some("a"), None, Some("b")]));

    let mut pending = PendingFrames::default();
    pending.on_text(text(1, 5, 1, "a"));
    pending.on_text(text(2, 9, 1, "b"));
    pending.on_event(event(9, 1, restarted()));
    pending.on_text(text(2, 9, 2, "c"));
    assert_eq!(received(pending), texts(&[Some("a"), None, Some("b"), Some("c")]));
}

#[test]
fn the_frame_of_an_event_has_the_newest_fence_and_its_own_number() {
    let mut pending = PendingFrames::default();
    pending.on_text(text(4, 9, 1, "b"));
    pending.on_event(event(10, 2, RunEventKind::RunStarted { steps: 1 }));
    let last = pending.frames.pop_back().and_then(|frame| frame.id());
    assert_eq!(last, Some(FrameId { fence: 4, seq: 10, n: 2 }));
}

#[test]
fn a_text_that_is_stored_and_arrives_too_is_passed_on_once_and_none_of_a_step_that_has_ended() {
    let mut pending = PendingFrames::default();
    for n in [1, 2, 2, 1, 3] {
        pending.on_text(text(1, 5, n, &n.to_string()));
    }
    let (step, status) = (key().step, "done".to_owned());
    let ended = RunEventKind::StepEnded { step, index: None, status, duration_ms: 1, cause: None, reason: None };
    pending.on_event(event(6, 0, ended));
    pending.on_text(text(1, 5, 4, "late"));
    assert_eq!(received(pending), texts(&[Some("1"), Some("2"), Some("3")]));
}

#[test]
fn the_end_of_a_step_waits_only_for_text_that_may_still_arrive() {
    let started = |attempt| RunEventKind::StepStarted { step: key().step, index: None, agent: None, attempt };
    let last = |seq, n| StepText { is_last: true, ..text(1, seq, n, "") };
    let mut pending = PendingFrames::default();
    assert!(!pending.awaits_text(&key()), "a step without text");
    pending.on_event(event(5, 0, started(1)));
    pending.on_text(text(1, 5, 1, "a"));
    assert!(pending.awaits_text(&key()));
    pending.on_text(last(5, 2));
    assert!(!pending.awaits_text(&key()));
    // The next attempt, whose text arrives before its event.
    pending.on_text(text(1, 9, 1, "b"));
    pending.on_event(event(9, 0, started(2)));
    assert!(pending.awaits_text(&key()));
    pending.on_text(last(9, 2));
    assert!(!pending.awaits_text(&key()));
    // The one after it, whose event arrives first.
    pending.on_event(event(12, 0, started(3)));
    assert!(pending.awaits_text(&key()), "its text is not complete");
    assert_eq!(received(pending), texts(&[Some("a"), None, Some("b")]));
}
