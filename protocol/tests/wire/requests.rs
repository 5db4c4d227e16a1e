//! Requests, envelopes and replies.

use std::time::Duration;

use greenroom_protocol::conversation::{StepApprovals, ToolDecision};
use greenroom_protocol::event::EventNumber;
use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{
    CallOptions, CallTool, ContextChange, ContextRead, ContextWrite, InlineTeam, Invoke, KeyScope, Maintenance,
    MemoryChange, MemoryRead, MemoryWrite, NewKey, Page, PublishedEvent, Query, ResumeRun, RunListFilter, Signal,
    SignalRun, StartRun, StartTeam, TeamRef,
};
use greenroom_protocol::{
    Cause, Credential, Deadline, Envelope, ErrorCode, Json, Metadata, MicroUsd, Outcome, PrincipalId, Reply, Request,
    Status, Values,
};
use serde_json::json;

use super::assert_written;
use super::samples::{artifact, at, denial, hash, id, reply, usage, values};

fn invoke() -> Invoke {
    Invoke {
        agent: id("executive_summary_agent"),
        inputs: Values::from([("document".to_owned(), artifact().to_json())]),
        context: values(),
        version: Some(hash()),
        key: Some(id("run_01/summarise")),
        options: CallOptions { model: Some("tier.small".into()), cost_max: Some(MicroUsd(10_000)) },
        approvals: None,
    }
}

fn calls() -> Vec<Request> {
    let start = StartRun {
        workflow: id("generate_quarterly_report"),
        inputs: values(),
        context: Values::new(),
        version: None,
        detach: true,
        key: None,
        options: CallOptions::default(),
    };
    let team = StartTeam {
        team: TeamRef::Id(id("reporting_team")),
        workflow: id("generate_quarterly_report"),
        inputs: values(),
        context: values(),
        version: Some(hash()),
        workflow_version: Some(hash()),
        detach: false,
        key: Some(id("run_01/report")),
        options: CallOptions::default(),
    };
    let inline = InlineTeam { name: "Reporting".into(), agents: vec![id("kpi_agent")], shared_context: values() };
    let inline = StartTeam { team: inline.into(), version: None, workflow_version: None, key: None, ..team.clone() };
    let decision =
        ToolDecision { call: id("0a1b2c3d"), approved: false, by: id("admin"), reason: Some("too much".into()) };
    let approvals = StepApprovals { conversation: Some(artifact()), decisions: vec![decision] };
    let continued = Invoke { approvals: Some(approvals), ..invoke() };
    vec![
        Request::Invoke(invoke()),
        Request::Invoke(continued),
        Request::StartRun(start),
        Request::StartTeam(team),
        Request::StartTeam(inline),
    ]
}

fn signals() -> Vec<Request> {
    let signal = |signal| Request::SignalRun(SignalRun { run: id("run_01"), signal });
    vec![
        signal(Signal::Cancel),
        signal(Signal::Approve { step: id("publish"), call: None }),
        signal(Signal::Reject { step: id("publish"), call: None, reason: None }),
        signal(Signal::Approve { step: id("publish"), call: Some(id("0a1b2c3d")) }),
        signal(Signal::Reject { step: id("publish"), call: Some(id("0a1b2c3d")), reason: Some("too much".into()) }),
        signal(Signal::Event(PublishedEvent { name: id("paid"), data: Json::from(3) })),
        Request::ResumeRun(ResumeRun { run: id("run_01"), dead: false }),
        Request::ResumeRun(ResumeRun { run: id("run_01"), dead: true }),
    ]
}

fn context_and_tools() -> Vec<Request> {
    let write = |expect, change, ttl_ms| {
        Request::ContextWrite(ContextWrite { run: id("run_01"), key: id("notes"), expect, change, ttl_ms })
    };
    vec![
        Request::ContextRead(ContextRead { run: id("run_01"), keys: vec![id("notes")] }),
        write(Some(3), ContextChange::Put(json!({"a": 1})), Some(60_000)),
        write(None, ContextChange::Append(json!("one more")), None),
        Request::CallTool(CallTool { tool: "native:calculator".into(), arguments: values(), key: None }),
    ]
}

fn memories() -> Vec<Request> {
    let agent = || id("executive_summary_agent");
    let write = |change, key| Request::MemoryWrite(MemoryWrite { agent: agent(), change, key });
    let remember =
        |index_text| MemoryChange::Remember { text: "the quarter closed well".into(), index_text, source: None };
    let read = |query, limit, count| Request::MemoryRead(MemoryRead { agent: agent(), query, limit, count });
    vec![
        read(Some("how did the quarter close".into()), 5, false),
        read(None, 0, false),
        write(remember(Some("how did the quarter close".into())), Some(id("run_01/summarise"))),
        write(remember(None), None),
        write(MemoryChange::Forget { id: Some(hash()), source: None }, None),
        write(MemoryChange::Forget { id: None, source: None }, None),
        read(None, 0, true),
        write(
            MemoryChange::Remember {
                text: "# Handbook".into(),
                index_text: None,
                source: Some("handbook/leave.md".into()),
            },
            None,
        ),
        write(MemoryChange::Forget { id: None, source: Some("handbook/leave.md".into()) }, None),
    ]
}

fn subject() -> PrincipalId {
    PrincipalId { issuer: id("login"), tenant: id("acme"), user: id("alice") }
}

fn maintenance() -> Vec<Request> {
    let commands = [
        Maintenance::PruneRuns { before: at(7) },
        Maintenance::ResumeRuns,
        Maintenance::VerifyAudit,
        Maintenance::PruneAudit { before: at(7) },
        Maintenance::CheckStore,
        Maintenance::CountTrees,
        Maintenance::BackUpStore { to: "/backups/monday.db".into() },
        Maintenance::ApplyDefinitions { from: "s3://ai-agents/definitions".into() },
        Maintenance::ApplyPolicy { from: "/policies/guard.tar.gz".into() },
        Maintenance::RestoreStore { from: "/backups/monday.db".into() },
        Maintenance::CreateKey(NewKey {
            owner: id("alice"),
            name: "nightly report".into(),
            scope: KeyScope {
                roles: Some(vec!["agent_operator".into()]),
                allowed_categories: Some(vec![id("business_ops")]),
                pii_access: true,
                agents: vec![id("executive_summary_agent")],
                workflows: vec![id("generate_quarterly_report")],
            },
            expires_at: at(7),
        }),
        Maintenance::CreateKey(NewKey {
            owner: id("alice"),
            name: String::new(),
            scope: KeyScope::default(),
            expires_at: at(7),
        }),
        Maintenance::ListKeys,
        Maintenance::RevokeKey { key: id("k_0123456789abcdef") },
        Maintenance::RevokeSubject { subject: subject() },
        Maintenance::ReinstateSubject { subject: subject() },
        Maintenance::ForgetMemories { user: None },
        Maintenance::ForgetMemories { user: Some(subject()) },
    ];
    commands.into_iter().map(Request::Maintain).collect()
}

fn queries() -> Vec<Request> {
    let page = Page { after: Some("41".into()), limit: 20 };
    let queries = vec![
        Query::Agents,
        Query::Agent { id: id("executive_summary_agent") },
        Query::Workflows,
        Query::Workflow { id: id("generate_quarterly_report") },
        Query::Teams,
        Query::Team { id: id("reporting_team") },
        Query::Runs { filter: RunListFilter::default(), page: Page::default() },
        Query::Run { run: id("run_01") },
        Query::Events { run: id("run_01"), after: EventNumber::after_entry(7) },
        Query::Events { run: id("run_01"), after: EventNumber::new(7, 1) },
        Query::Audit { page },
        Query::AuditEntry { id: "17".into() },
        Query::Artifact { hash: hash(), after: 8 },
        Query::Costs { since: Some(at(0)) },
    ];
    queries.into_iter().map(Request::Query).collect()
}

#[test]
fn requests_are_written_one_verb_each() {
    assert_written("requests_of_work", &calls());
    assert_written("requests_to_runs", &signals());
    assert_written("requests_of_context_and_tools", &context_and_tools());
    assert_written("requests_of_memory", &memories());
    assert_written("requests_to_query", &queries());
    assert_written("requests_of_maintenance", &maintenance());
}

#[test]
fn an_envelope_is_written_with_and_without_its_optional_members() {
    let bare = Envelope::new(Request::Query(Query::Agents));
    let full = |credential| Envelope {
        id: Some(id("req_01")),
        credential: Some(credential),
        deadline: Some(Deadline(at(60))),
        idempotency_key: Some(id("order-17")),
        trace: Some(id("4bf92f3577b34da6a3ce929d0e0e4736")),
        ..bare.clone()
    };
    let all_schemes = [
        full(Credential::Bearer("b".into())),
        full(Credential::ApiKey("k".into())),
        full(Credential::Delegation("d".into())),
    ];
    assert_written("envelopes", &[std::slice::from_ref(&bare), all_schemes.as_slice()].concat());
}

#[test]
fn a_reply_is_written_for_each_status() {
    let ended = |status, cause: Cause| Reply {
        status,
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::default(),
        ..reply()
    };
    let overloaded =
        Cause::new(ErrorCode::Overloaded, "the pod is full").with_retry_after(Duration::from_millis(1_500));
    assert_written(
        "replies",
        &[
            reply(),
            ended(Status::Denied, denial()),
            ended(Status::Failed, overloaded),
            ended(Status::Cancelled, Cause::new(ErrorCode::Cancelled, "cancelled by `admin`")),
            ended(Status::TimedOut, Cause::new(ErrorCode::TimedOut, "the deadline passed")),
        ],
    );
}

#[test]
fn outputs_are_written_with_their_usage() {
    assert_written("outcomes", &[Outcome { outputs: values(), usage: usage() }, Outcome::default()]);
    assert_written("usages", &[usage(), Usage::default()]);
}

#[test]
fn the_codes_are_the_closed_list() {
    assert_written("codes", ErrorCode::ALL);
}
