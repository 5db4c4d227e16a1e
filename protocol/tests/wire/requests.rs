//! What is asked, and what is answered.

use std::time::Duration;

use greenroom_protocol::reply::Usage;
use greenroom_protocol::request::{
    CallOptions, CallTool, ContextChange, ContextRead, ContextWrite, Invoke, MemoryChange, MemoryRead, MemoryWrite,
    Page, Query, ResumeRun, Signal, SignalRun, StartRun, StartTeam,
};
use greenroom_protocol::{
    Cause, Credential, Deadline, Envelope, ErrorCode, Metadata, MicroUsd, Outcome, Reply, Request, Status, Values,
};
use serde_json::json;

use super::samples::{artifact, at, denial, hash, id, reply, usage, values};
use super::written;

fn invoke() -> Invoke {
    Invoke {
        agent: id("executive_summary_agent"),
        inputs: Values::from([("document".to_owned(), artifact().to_json())]),
        context: values(),
        version: Some(hash()),
        key: Some(id("run_01/summarise")),
        options: CallOptions { model: Some("tier.small".into()), cost_max: Some(MicroUsd(10_000)) },
    }
}

fn work() -> Vec<Request> {
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
        team: id("reporting_team"),
        workflow: id("generate_quarterly_report"),
        inputs: values(),
        context: values(),
        detach: false,
        key: Some(id("run_01/report")),
        options: CallOptions::default(),
    };
    vec![Request::Invoke(invoke()), Request::StartRun(start), Request::StartTeam(team)]
}

fn signals() -> Vec<Request> {
    let signal = |signal| Request::SignalRun(SignalRun { run: id("run_01"), signal });
    vec![
        signal(Signal::Cancel),
        signal(Signal::Approve { step: id("publish") }),
        signal(Signal::Reject { step: id("publish") }),
        Request::ResumeRun(ResumeRun { run: id("run_01") }),
    ]
}

fn shared() -> Vec<Request> {
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
    let remember = |about| MemoryChange::Remember { text: "what was said".into(), index_text: about };
    vec![
        Request::MemoryRead(MemoryRead { agent: agent(), query: Some("what was asked".into()), limit: 5 }),
        Request::MemoryRead(MemoryRead { agent: agent(), query: None, limit: 0 }),
        write(remember(Some("what was asked".into())), Some(id("run_01/summarise"))),
        write(remember(None), None),
        write(MemoryChange::Forget { id: Some(hash()) }, None),
        write(MemoryChange::Forget { id: None }, None),
    ]
}

fn looks() -> Vec<Request> {
    let page = Page { after: Some("41".into()), limit: 20 };
    let looks = vec![
        Query::Agents,
        Query::Agent { id: id("executive_summary_agent") },
        Query::Workflows,
        Query::Workflow { id: id("generate_quarterly_report") },
        Query::Teams,
        Query::Team { id: id("reporting_team") },
        Query::Runs { page: Page::default() },
        Query::Run { run: id("run_01") },
        Query::Events { run: id("run_01"), after: 7 },
        Query::Audit { page },
        Query::AuditEntry { id: "17".into() },
        Query::Costs { since: Some(at(0)) },
    ];
    looks.into_iter().map(Request::Query).collect()
}

#[test]
fn requests_are_written_one_verb_each() {
    written("requests_of_work", &work());
    written("requests_to_runs", &signals());
    written("requests_of_context_and_tools", &shared());
    written("requests_of_memory", &memories());
    written("requests_to_look", &looks());
}

#[test]
fn an_envelope_is_written_with_and_without_its_outside() {
    let bare = Envelope::of(Request::Query(Query::Agents));
    let full = |credential| Envelope {
        id: Some(id("req_01")),
        credential: Some(credential),
        deadline: Some(Deadline(at(60))),
        idempotency_key: Some(id("order-17")),
        trace: Some(id("4bf92f3577b34da6a3ce929d0e0e4736")),
        ..bare.clone()
    };
    let of_each_scheme = [
        full(Credential::Bearer("b".into())),
        full(Credential::ApiKey("k".into())),
        full(Credential::Delegation("d".into())),
    ];
    written("envelopes", &[std::slice::from_ref(&bare), of_each_scheme.as_slice()].concat());
}

#[test]
fn a_reply_is_written_for_each_way_to_end() {
    let ended = |status, cause: Cause| Reply {
        status,
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::default(),
        ..reply()
    };
    let late = Cause::new(ErrorCode::Overloaded, "the pod is full").with_retry_after(Duration::from_millis(1_500));
    written(
        "replies",
        &[
            reply(),
            ended(Status::Denied, denial()),
            ended(Status::Failed, late),
            ended(Status::Cancelled, Cause::new(ErrorCode::Cancelled, "cancelled by `admin`")),
            ended(Status::TimedOut, Cause::new(ErrorCode::TimedOut, "the deadline passed")),
        ],
    );
}

#[test]
fn what_work_gives_back_is_written_with_what_it_took() {
    written("outcomes", &[Outcome { outputs: values(), usage: usage() }, Outcome::default()]);
    written("usages", &[usage(), Usage::default()]);
}

#[test]
fn the_codes_are_the_closed_list() {
    written("codes", ErrorCode::ALL);
}
