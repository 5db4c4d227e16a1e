//! Stored records: the journal of a run, the events that a watcher sees, and the audit.

use greenroom_protocol::audit::{Closing, Event, Opening, Record, RecordRef, Restored};
use greenroom_protocol::conversation::{PendingToolCall, SuspendedCall};
use greenroom_protocol::event::{RunEvent, RunEventKind, RunStatus};
use greenroom_protocol::frame::ReplyFrame;
use greenroom_protocol::journal::{
    Entry, InnerVersions, ItemChunk, ItemList, PendingApproval, PendingWait, ResultRef, RunStarted, SkipReason,
    StepKey, WaitTarget,
};
use greenroom_protocol::raw_input::{RawFile, RawInput, RawItem};
use greenroom_protocol::request::{CallOptions, ContextChange, PublishedEvent};
use greenroom_protocol::{
    Cause, ContentHash, Deadline, ErrorCode, Frame, FrameId, Issuer, Json, MicroUsd, PrincipalId, SpendingLimits,
    Status, StepId, TenantId, Tokens, WrittenVersion,
};
use serde_json::json;

use super::assert_written;
use super::samples::{artifact, at, denial, hash, id, reply, usage, values};

fn key() -> StepKey {
    StepKey { step: id("summarise"), index: Some(2) }
}

fn run_started() -> Entry {
    Entry::RunStarted(Box::new(RunStarted {
        run: id("run_01"),
        workflow: id("generate_quarterly_report"),
        version: hash(),
        agents: [(id("executive_summary_agent_001"), hash())].into(),
        inner: InnerVersions {
            workflows: [(id("collect"), hash())].into(),
            teams: [(id("audit_team"), hash())].into(),
            agents: [(id("data_collection_agent_001"), hash())].into(),
        },
        team: Some(id("reporting_team")),
        team_run: Some(id("run_01")),
        parent: Some(id("run_00")),
        root: id("run_00"),
        owner: PrincipalId::local(TenantId::default(), id("admin")),
        inputs: ResultRef::Inline(values()),
        context: ResultRef::Stored(artifact()),
        options: CallOptions::default(),
        limits: SpendingLimits { cost_max: Some(MicroUsd(2_000_000)), tokens_max: Some(10_000) },
        deadline: Deadline(at(300)),
        request_deadline: Some(Deadline(at(400))),
        steps: 5,
        retry_budget: 10,
        members: vec![id("executive_summary_agent_001")],
        checks: vec!["access_allowed".into()],
        policies: Some(vec!["audit_all_actions".into()]),
        trace: Some(id("4bf92f3577b34da6a3ce929d0e0e4736")),
    }))
}

fn whole_step(step: &str) -> StepKey {
    StepKey { step: id(step), index: None }
}

fn skipped() -> Vec<StepId> {
    vec![id("gather")]
}

fn pending_approval() -> PendingApproval {
    PendingApproval {
        run: id("run_02"),
        step: id("ask"),
        index: Some(2),
        since: at(3),
        until: None,
        calls: vec![tool_call()],
    }
}

fn tool_call() -> PendingToolCall {
    PendingToolCall::new(&id("run_02/ask[2]/tool[0]"), "native:transfer", serde_json::json!({ "amount": 3 }))
}

fn suspended() -> SuspendedCall {
    SuspendedCall { conversation: artifact(), calls: vec![tool_call()], artifacts: vec![hash()] }
}

fn pending_wait() -> PendingWait {
    let (run, target) = (id("run_02"), WaitTarget::Event(id("paid")));
    PendingWait { run, step: id("wait"), target, since: at(3), until: Some(at(60)) }
}

/// Every entry that a step can write, successful or not.
fn step_entries() -> Vec<Entry> {
    let cause = || Cause::new(ErrorCode::ModelOverloaded, "the provider has no capacity");
    let result = ResultRef::Inline(values());
    let entries = vec![
        Entry::StepReady { step: id("summarise") },
        Entry::ItemsExpanded {
            step: id("summarise"),
            items: 3,
            skipped: vec![1],
            list: Some(ItemList::Inline(vec!["a".into(), "b".into(), "c".into()])),
        },
        Entry::ItemsExpanded {
            step: id("publish"),
            items: 2,
            skipped: Vec::new(),
            list: Some(ItemList::Stored(vec![ItemChunk { items: 2, artifact: artifact() }])),
        },
        Entry::StepStarted { key: key(), attempt: 1, agent: Some(id("executive_summary_agent_001")) },
        Entry::StepDone { key: key(), attempt: 1, result, hash: hash(), usage: usage(), duration_ms: 12 },
        Entry::StepSkipped { key: whole_step("publish"), reason: Some(SkipReason::ConditionFalse) },
        Entry::StepSkipped {
            key: whole_step("publish"),
            reason: Some(SkipReason::ConditionAbsent { steps: skipped() }),
        },
        Entry::StepSkipped {
            key: whole_step("publish"),
            reason: Some(SkipReason::ReferencesSkipped { steps: skipped() }),
        },
        Entry::StepSkipped {
            key: whole_step("publish"),
            reason: Some(SkipReason::ValueAbsent { value: "inputs.text".into(), steps: skipped() }),
        },
        Entry::StepRetried { key: key(), attempt: 1, cause: cause(), at: at(2), after_ms: 2_000, usage: usage() },
        Entry::NestedRetryTaken,
        Entry::StepFailed { key: key(), attempt: 2, cause: cause(), usage: usage(), duration_ms: 34 },
        Entry::StepCancelled { key: key() },
    ];
    entries.into_iter().chain(waiting_entries()).collect()
}

/// Every entry of a step that waits.
fn waiting_entries() -> Vec<Entry> {
    vec![
        Entry::ApprovalRequested { key: key(), prompt: "publish it?".into(), until: Some(at(90)) },
        Entry::CallAwaitsApproval {
            key: key(),
            approvals: vec![pending_approval()],
            waits: Vec::new(),
            idle: true,
            retry_at: None,
        },
        Entry::CallAwaitsApproval {
            key: key(),
            approvals: Vec::new(),
            waits: vec![pending_wait()],
            idle: true,
            retry_at: None,
        },
        Entry::CallAwaitsApproval {
            key: key(),
            approvals: Vec::new(),
            waits: Vec::new(),
            idle: false,
            retry_at: Some(at(90)),
        },
        Entry::WaitStarted { key: key(), attempt: 1, target: WaitTarget::Context(id("facts")), until: Some(at(90)) },
        Entry::WaitStarted { key: key(), attempt: 2, target: WaitTarget::Event(id("paid")), until: None },
        Entry::ApprovalResolved { key: key(), approved: true, by: id("admin") },
        Entry::ToolApprovalRequested { key: key(), attempt: 1, suspended: suspended(), usage: usage() },
        Entry::ToolApprovalResolved {
            key: key(),
            calls: vec![tool_call().call],
            approved: false,
            by: id("admin"),
            reason: Some("too much".into()),
            remaining: 0,
        },
    ]
}

fn run_entries() -> Vec<Entry> {
    vec![
        Entry::CancelRequested { by: id("admin") },
        Entry::DeadlinePassed,
        Entry::RunCompensationStarted { cause: denial(), give_up_at: at(60) },
        Entry::StepCompensationStarted { key: key(), attempt: 1 },
        Entry::StepCompensationEnded { key: key(), cause: None, usage: usage(), duration_ms: 5 },
        Entry::ContextChanged {
            key: id("facts"),
            change: ContextChange::Append("a".into()),
            until: Some(at(60)),
            id: None,
            request: None,
        },
        Entry::EventReceived {
            id: id("key_01"),
            event: PublishedEvent { name: id("paid"), data: Json::from(3) },
            by: id("admin"),
        },
        Entry::RunResumed { definitions_changed: true, deadline: Deadline(at(900)), restarts: Vec::new() },
        Entry::RunGivenUp { cause: Cause::new(ErrorCode::Internal, "6 pods died"), failures: 0, attempts: 6 },
        Entry::RunReopened { by: id("admin") },
        Entry::RunResumed { definitions_changed: false, deadline: Deadline(at(900)), restarts: vec![key()] },
        Entry::RunEnded { reply: Box::new(reply()) },
    ]
}

#[test]
fn a_journal_is_written_entry_by_entry() {
    assert_written("journal_of_start", &[run_started()]);
    assert_written("journal_of_steps", &step_entries());
    assert_written("journal_of_runs", &run_entries());
}

#[test]
fn a_watcher_sees_the_journal_as_events() {
    let entries = [vec![run_started()], step_entries(), run_entries()].concat();
    let run = id("run_01");
    let events: Vec<RunEvent> =
        (1..).zip(&entries).flat_map(|(seq, entry)| RunEvent::list_from_entry(&run, seq, at(0), entry)).collect();
    assert!(events.iter().any(|event| matches!(event.kind, RunEventKind::RunEnded { .. })));
    assert_written("run_events", &events);
}

#[test]
fn a_stream_is_written_frame_by_frame() {
    let position = |n| FrameId { fence: 2, seq: 7, n };
    let kind = RunEventKind::RunStarted { steps: 5 };
    let event = RunEvent { run: id("run_01"), seq: 7, n: 0, at: at(0), protocol_version: WrittenVersion::OWN, kind };
    let frames = [
        Frame::Accepted { pod: id("pod-a"), run: Some(id("run_01")), version: 1 },
        Frame::Accepted { pod: id("pod-a"), run: None, version: 1 },
        Frame::Event { id: position(0), event },
        Frame::Delta { id: position(1), step: Some(key()), text: "The quarter".into() },
        Frame::Delta { id: position(2), step: None, text: " closed well".into() },
        Frame::Restarted { id: position(3), step: Some(key()) },
        Frame::Working { at: at(10) },
        Frame::Reply { reply: Box::new(reply()) },
        Frame::Refused { cause: denial() },
        Frame::Unknown,
    ];
    assert_written("frames", &frames);
    let owned = serde_json::to_string(&Frame::Reply { reply: Box::new(reply()) });
    assert_eq!(serde_json::to_string(&ReplyFrame { reply: &reply() }).unwrap(), owned.unwrap());
}

#[test]
fn the_statuses_of_a_run_are_words() {
    let statuses = [
        RunStatus::Queued,
        RunStatus::Running,
        RunStatus::WaitingApproval,
        RunStatus::Dead,
        RunStatus::Success,
        RunStatus::Failed,
        RunStatus::Denied,
        RunStatus::Cancelled,
        RunStatus::TimedOut,
    ];
    for status in statuses {
        assert_eq!(serde_json::to_value(status).expect("it can be written"), status.as_str());
    }
    assert_written("run_statuses", &statuses);
}

#[test]
fn the_audit_is_written_record_by_record() {
    let opening = Opening {
        request: id("req_01"),
        trace: id("4bf92f3577b34da6a3ce929d0e0e4736"),
        pod: id("pod-a"),
        issuer: Issuer::default(),
        tenant: id("default"),
        user: id("guest"),
        caller: "user:guest".into(),
        action: "invoke".into(),
        resource: "executive_summary_agent_001".into(),
        run: Some("run_01".into()),
    };
    let closing = Closing {
        status: Status::Denied,
        code: Some(ErrorCode::PolicyDenied),
        checks: vec!["access_allowed".into()],
        policy_revision: Some("0123456789ab".into()),
        version: Some(hash()),
        elapsed_us: 87,
        tokens: Tokens::default(),
        cost: MicroUsd(0),
    };
    let events = vec![
        Event::Opened(opening),
        Event::Closed { opened: 1, closing },
        Event::Interrupted { opened: 1 },
        Event::System { subject: "policy".into(), message: "revision 0123456789ab is active".into() },
        Event::Restored(Restored {
            issuer: Issuer::default(),
            tenant: TenantId::default(),
            user: id("admin"),
            backup: "/backups/monday.db".into(),
            restored: RecordRef { number: 4, hash: ContentHash::from_content(b"restored") },
            replaced: Some(RecordRef { number: 9, hash: ContentHash::from_content(b"replaced") }),
        }),
        Event::Unknown(json!({ "kind": "of_another_release", "member": [1, 2] })),
    ];
    let records: Vec<Record> = (1..)
        .zip(events)
        .map(|(number, event)| Record {
            number,
            previous: ContentHash::from_content(b""),
            at: at(0),
            event,
            protocol_version: WrittenVersion::OWN,
        })
        .collect();
    assert_written("audit_records", &records);
}

#[test]
fn an_audit_entry_without_an_issuer_is_of_a_configured_user() {
    let old = json!({
        "kind": "opened", "request": "req_01", "trace": "4bf92f3577b34da6a3ce929d0e0e4736", "pod": "pod-a",
        "tenant": "default", "user": "guest", "caller": "user:guest", "action": "invoke", "resource": "an_agent",
    });
    let opened = serde_json::from_value::<Event>(old).expect("it can be read");
    assert!(matches!(opened, Event::Opened(opening) if opening.issuer == Issuer::default()));
    let last = json!({ "number": 4, "hash": hash() });
    let old = json!({ "kind": "restored", "tenant": "default", "user": "admin", "backup": "/x", "restored": last });
    let restored = serde_json::from_value::<Event>(old).expect("it can be read");
    assert!(matches!(restored, Event::Restored(restored) if restored.issuer == Issuer::default()));
}

#[test]
fn an_artifact_is_a_value_with_one_member() {
    assert_written("artifact", &[artifact().to_json()]);
}

#[test]
fn a_raw_input_is_a_value_with_one_member() {
    let file = RawFile { content: "a,b\n1,2\n".into(), media_type: "text/csv".into(), name: "sales.csv".into() };
    let items = vec![RawItem::Text("7".into()), RawItem::File(file), RawItem::Artifact(artifact())];
    assert_written("raw_input", &[RawInput(items).to_json()]);
}
