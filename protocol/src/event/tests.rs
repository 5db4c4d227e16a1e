//! Tests of the events of a journal.

use super::*;
use crate::id::UserId;

#[test]
fn a_watcher_sees_the_events_of_the_journal_but_no_internal_entries() {
    let step = StepId::new("a").unwrap_or_else(|_| unreachable!());
    let key = StepKey { step: step.clone(), index: Some(2) };
    let started = Entry::StepStarted { key: key.clone(), attempt: 1, agent: None };
    assert_eq!(
        RunEventKind::from_entry(&started),
        Some(RunEventKind::StepStarted { step: step.clone(), index: Some(2), agent: None, attempt: 1 })
    );
    let skipped = RunEventKind::from_entry(&Entry::StepSkipped { key, reason: None });
    assert!(matches!(skipped, Some(RunEventKind::StepEnded { status, .. }) if status == "skipped"));
    assert_eq!(RunEventKind::from_entry(&Entry::StepReady { step }), None);
    let by = UserId::new("admin").unwrap_or_else(|_| unreachable!());
    assert_eq!(RunEventKind::from_entry(&Entry::CancelRequested { by }), None);
}

#[test]
fn a_resumption_restarts_the_steps_that_it_interrupted() {
    let (run, step) = (RunId::new("run_1").unwrap(), StepId::new("a").unwrap());
    let restarts = vec![StepKey { step: step.clone(), index: Some(2) }];
    let deadline = crate::time::Deadline(Timestamp::default());
    let resumed = Entry::RunResumed { definitions_changed: false, deadline, restarts };
    let events = RunEvent::list_from_entry(&run, 7, Timestamp::default(), &resumed);
    let kinds: Vec<RunEventKind> = events.iter().map(|event| event.kind.clone()).collect();
    let expected =
        [RunEventKind::RunResumed { definitions_changed: false }, RunEventKind::StepRestarted { step, index: Some(2) }];
    assert_eq!(kinds, expected);
    let numbers: Vec<String> = events.iter().map(|event| event.number().to_string()).collect();
    assert_eq!(numbers, ["7.0", "7.1"], "both are of one entry");
    let json = events.iter().map(|event| serde_json::to_value(event).unwrap());
    assert_eq!(json.map(|event| event["n"].as_u64()).collect::<Vec<_>>(), [None, Some(1)]);
}
