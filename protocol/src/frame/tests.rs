//! Tests of the frames of a stream, and of what a reader drops.

use serde_json::json;

use super::*;
use crate::event::RunEventKind;
use crate::version::WrittenVersion;

fn id(fence: u64, seq: u64, n: u64) -> FrameId {
    FrameId { fence, seq, n }
}

fn delta(id: FrameId) -> Frame {
    Frame::Delta { id, step: None, text: "a".to_owned() }
}

fn event(fence: u64, seq: u64) -> Frame {
    let kind = RunEventKind::RunStarted { steps: 1 };
    let event = RunEvent {
        run: "run_1".parse().unwrap(),
        seq,
        n: 0,
        at: Timestamp::default(),
        protocol_version: WrittenVersion::OWN,
        kind,
    };
    Frame::Event { id: id(fence, seq, 0), event }
}

#[test]
fn frames_are_ordered_by_fence_then_entry_then_number() {
    let ordered = [id(1, 9, 9), id(2, 1, 8), id(2, 3, 0), id(2, 3, 1)];
    assert!(ordered.is_sorted());
}

#[test]
fn a_frame_survives_its_json_and_an_unknown_one_is_read() {
    for frame in [delta(id(1, 2, 3)), event(1, 2), Frame::Working { at: Timestamp::default() }] {
        let bytes = serde_json::to_vec(&frame).unwrap();
        assert_eq!(Frame::decode(&bytes), Ok(Some(frame)));
    }
    let later = json!({ "frame": "of_a_later_release", "more": [1, 2] });
    assert_eq!(Frame::decode(later.to_string().as_bytes()), Ok(Some(Frame::Unknown)));
    assert_eq!(Frame::decode(b""), Ok(None), "an empty message ends the stream");
    for bytes in [&b"{}"[..], b"[]", b"{\"frame\":\"delta\"}", b"\xff"] {
        assert_eq!(Frame::decode(bytes).unwrap_err().code, ErrorCode::Internal);
    }
    let large = vec![b' '; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(Frame::decode(&large).unwrap_err().code, ErrorCode::PayloadTooLarge);
}

#[test]
fn a_reader_drops_the_frames_of_an_earlier_owner_and_repeated_ones() {
    let mut order = FrameOrder::after(EventNumber::after_entry(3));
    for (frame, is_accepted) in [
        (Frame::Unknown, true),
        (event(1, 3), false),
        (delta(id(1, 3, 1)), true),
        (delta(id(1, 3, 2)), true),
        (delta(id(1, 3, 2)), false),
        (event(1, 4), true),
        (Frame::Restarted { id: id(2, 4, 0), step: None }, true),
        (delta(id(1, 9, 9)), false),
        (event(1, 5), true),
        (delta(id(2, 4, 1)), true),
        (event(2, 4), false),
        (event(2, 5), false),
        (Frame::Working { at: Timestamp::default() }, true),
    ] {
        assert_eq!(order.accepts(&frame), is_accepted, "{frame:?}");
    }
    assert_eq!(
        order.newest_event(),
        EventNumber::new(5, 0),
        "its entry is read again, because it may have further events"
    );
}

#[test]
fn the_texts_of_steps_at_the_same_time_do_not_displace_each_other() {
    let of_step = |id, index| {
        let step = Some(StepKey { step: "draft".parse().unwrap(), index: Some(index) });
        Frame::Delta { id, step, text: "a".to_owned() }
    };
    let mut order = FrameOrder::default();
    for (frame, is_accepted) in [
        (of_step(id(1, 5, 1), 0), true),
        (of_step(id(1, 6, 1), 1), true),
        (of_step(id(1, 5, 2), 0), true),
        (of_step(id(1, 5, 2), 0), false),
        (of_step(id(1, 6, 2), 1), true),
        (of_step(id(2, 9, 1), 1), true),
        (of_step(id(1, 5, 3), 0), false),
    ] {
        assert_eq!(order.accepts(&frame), is_accepted, "{frame:?}");
    }
}

#[test]
fn each_event_of_an_entry_is_accepted_once() {
    let numbered = |n: u32| match event(1, 5) {
        Frame::Event { event, .. } => Frame::Event { id: id(1, 5, n.into()), event: RunEvent { n, ..event } },
        other => other,
    };
    let mut order = FrameOrder::after(EventNumber::after_entry(4));
    assert_eq!(order.newest_event(), EventNumber::after_entry(4));
    let accepted = [0, 1, 0, 1, 2].map(|n| order.accepts(&numbered(n)));
    assert_eq!(accepted, [true, true, false, false, true]);
    let mut resumed = FrameOrder::after(EventNumber::new(5, 0));
    assert_eq!(
        [0, 1].map(|n| resumed.accepts(&numbered(n))),
        [false, true],
        "the second event of an entry is not lost"
    );
}
