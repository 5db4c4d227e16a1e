//! Tests of subjects, and of what their bodies become.

use serde_json::json;

use super::*;
use crate::limits::{ENVELOPE_BYTES_MAX, ID_BYTES_MAX, PROTOCOL_VERSION};
use crate::request::{CallOptions, Invoke, Query, Request, Signal, SignalRun};
use crate::value::Values;
use crate::{ContentHash, Envelope};

fn subjects() -> Subjects {
    Subjects::new("acme.greenroom").unwrap()
}

/// Every purpose, with this id in it.
fn all(id: &str) -> Vec<IngressSubject> {
    let run = |verb| IngressSubject::Run { run: id.parse().unwrap(), verb };
    let mut all = vec![
        IngressSubject::Agent(id.parse().unwrap()),
        IngressSubject::Workflow(id.parse().unwrap()),
        IngressSubject::Teams,
        IngressSubject::CatalogueEntry(CatalogueEntry::Agent(id.parse().unwrap())),
        IngressSubject::CatalogueEntry(CatalogueEntry::Workflow(id.parse().unwrap())),
        IngressSubject::CatalogueEntry(CatalogueEntry::Team(id.parse().unwrap())),
        IngressSubject::Requests,
        IngressSubject::ArtifactUpload,
    ];
    all.extend(RunVerb::ALL.map(run));
    all.extend(CatalogueKind::ALL.map(IngressSubject::CatalogueList));
    all
}

/// True if a pattern of NATS matches a subject.
fn is_match(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), subject.split('.').collect());
    pattern.len() == subject.len() && pattern.iter().zip(&subject).all(|(left, right)| *left == "*" || left == right)
}

#[test]
fn every_subject_survives_its_text_and_has_one_endpoint() {
    let subjects = subjects();
    // Ids in every shape that an id may have; a generator with a fixed start makes the rest.
    let mut ids: Vec<String> = ["a", "...", "list", "get", "a.b.c", "x_1-Y.z"].map(ToOwned::to_owned).to_vec();
    ids.push(".".repeat(ID_BYTES_MAX));
    let mut state = 7_u64;
    for _ in 0..200 {
        let mut id = String::from("i");
        for _ in 0..state % 40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            id.push(char::from(b"abzAZ09_-.."[usize::try_from((state >> 33) % 11).unwrap()]));
        }
        state = state.wrapping_add(1);
        ids.push(id);
    }
    for (endpoint, _) in subjects.endpoints() {
        let schema = body::request_schema(endpoint).unwrap();
        assert!(schema.get("title").is_some() || schema.get("oneOf").is_some(), "{endpoint}");
    }
    assert_eq!(body::request_schema("other"), None);
    for purpose in ids.iter().flat_map(|id| all(id)) {
        let text = subjects.build(&purpose);
        assert!(text.len() <= SUBJECT_BYTES_MAX, "{text}");
        assert_eq!(subjects.parse(&text).as_ref(), Ok(&purpose), "{text}");
        let endpoints = subjects.endpoints().into_iter().filter(|(_, pattern)| is_match(pattern, &text)).count();
        assert_eq!(endpoints, 1, "{text}");
    }
}

#[test]
fn a_subject_that_no_request_has_is_rejected_with_its_reason() {
    let subjects = Subjects::new("p").unwrap();
    let long_id = format!("p.v1.agents.{}.execute", "x".repeat(ID_BYTES_MAX + 1));
    for (subject, reason) in [
        ("", "token 1 is empty"),
        ("p.v1.agents.*.execute", "`*` is one"),
        ("p.v1.>", "`>` is one"),
        ("p.v1.runs.a*b.get", "`a*b` is one"),
        ("p.v1.agents..execute", "token 4 is empty"),
        ("p.v1.requests.", "token 4 is empty"),
        ("q.v1.requests", "does not begin with `p.`"),
        ("pp.v1.requests", "does not begin with `p.`"),
        ("p.v2.requests", "the prefix `p.v1.`"),
        ("p.internal.sessions", "the prefix `p.v1.`"),
        ("p.v1.uploads.pod.00", "no request has such a subject"),
        ("p.v1.agents.a.b.execute", "no request has such a subject"),
        ("p.v1.agents.a", "no request has such a subject"),
        ("p.v1.runs.r.delete", "`delete` is none of `get`"),
        ("p.v1.catalogue.runs.list", "`runs` is none of `agents`"),
        ("p.v1.agents.a%2e.execute", "not '%'"),
        ("p.v1.agents.a%20b.execute", "not '%'"),
        ("p.v1.agents.%2E%2E.execute", "an id may not be"),
        ("p.v1.agents.é.execute", "an id may have"),
        (long_id.as_str(), "at most 128 bytes"),
    ] {
        let cause = subjects.parse(subject).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidRequest, "{subject}");
        assert!(cause.message.contains(reason), "{subject}: {}", cause.message);
    }
    let cause = subjects.parse(&"x".repeat(SUBJECT_BYTES_MAX + 1)).unwrap_err();
    assert!(cause.message.contains("at most 512") && cause.message.len() < 300, "{cause}");
}

#[test]
fn a_prefix_is_checked() {
    let long = "x".repeat(SUBJECT_PREFIX_BYTES_MAX + 1);
    for prefix in ["", ".", "a.", ".a", "a..b", "a b", "a*", ">", "a%", "é", "a\n", long.as_str()] {
        let cause = Subjects::new(prefix).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidConfiguration, "{prefix}");
    }
    let subjects = subjects();
    assert_eq!(subjects.ingress_pattern(), "acme.greenroom.v1.>");
    assert_eq!(subjects.internal_pattern(), "acme.greenroom.internal.>");
    assert_eq!(subjects.stream("frames"), "acme_greenroom_frames");
    let pod = "pod.a".parse().unwrap();
    assert_eq!(subjects.upload(&pod, 7), format!("acme.greenroom.v1.uploads.pod%2Ea.{:032x}", 7));
}

fn read_message(subject: &str, body: &str) -> Result<Request, Cause> {
    let purpose = Subjects::new("p").unwrap().parse(subject).unwrap();
    purpose.into_request(body.as_bytes(), PROTOCOL_VERSION).map(|request| match request {
        SubjectRequest::Send(envelope) => envelope.request,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_body_becomes_the_request_of_its_subject() {
    let agent = Invoke {
        agent: "writer".parse().unwrap(),
        inputs: Values::from([("topic".to_owned(), json!("actors"))]),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
        approvals: None,
    };
    let body = r#"{"inputs": {"topic": "actors"}}"#;
    assert_eq!(read_message("p.v1.agents.writer.execute", body), Ok(Request::Invoke(agent)));
    for body in ["", "{}"] {
        let run = "run_1".parse().unwrap();
        assert_eq!(read_message("p.v1.runs.run_1.get", body), Ok(Request::Query(Query::Run { run })));
        assert_eq!(read_message("p.v1.catalogue.teams.list", body), Ok(Request::Query(Query::Teams)));
    }
    let approve = Signal::Approve { step: "publish".parse().unwrap(), call: None };
    let expected = SignalRun { run: "run_1".parse().unwrap(), signal: approve };
    let body = r#"{"signal": "approve", "step": "publish"}"#;
    assert_eq!(read_message("p.v1.runs.run_1.signal", body), Ok(Request::SignalRun(expected)));
    let envelope = serde_json::to_string(&Envelope::new(Request::Query(Query::Agents))).unwrap();
    assert_eq!(read_message("p.v1.requests", &envelope), Ok(Request::Query(Query::Agents)));
}

#[test]
fn a_watch_and_an_upload_have_bodies_of_their_own() {
    let subjects = subjects();
    let run = "run.1".parse().unwrap();
    for (after, body) in
        [("0", ""), ("0", "{}"), ("7", r#"{"after": 7}"#), ("7", r#"{"after": "7"}"#), ("7.1", r#"{"after": "7.1"}"#)]
    {
        let after = after.parse().unwrap();
        let purpose = subjects.parse(&subjects.run(&run, RunVerb::Events)).unwrap();
        let request = purpose.into_request(body.as_bytes(), PROTOCOL_VERSION);
        assert_eq!(request, Ok(SubjectRequest::Watch { run: run.clone(), after }));
    }
    for (after, written) in [("7", r#"{"after":7}"#), ("7.1", r#"{"after":"7.1"}"#)] {
        let (subject, body) = subjects.of_watch(&run, after.parse().unwrap()).unwrap();
        assert_eq!((subject.as_str(), body.as_slice()), ("acme.greenroom.v1.runs.run%2E1.events", written.as_bytes()));
    }
    let (subject, body) = subjects.of_upload("sales.csv", "text/csv").unwrap();
    let request = subjects.parse(&subject).unwrap().into_request(&body, PROTOCOL_VERSION);
    let expected = SubjectRequest::Upload { name: "sales.csv".to_owned(), media_type: "text/csv".to_owned() };
    assert_eq!(request, Ok(expected));
    let long = "x".repeat(300);
    for (name, media_type) in [
        ("", "a/b"),
        ("a", ""),
        ("../a", "a/b"),
        ("a\\b", "a/b"),
        ("..", "a/b"),
        ("a\n", "a/b"),
        (long.as_str(), "a/b"),
    ] {
        assert_eq!(subjects.of_upload(name, media_type).unwrap_err().code, ErrorCode::InvalidRequest, "{name:?}");
    }
}

#[test]
fn a_body_that_its_subject_does_not_have_is_rejected() {
    let hash = ContentHash::from_content(b"old");
    let version = format!(r#"{{"inputs": {{}}, "version": "{hash}"}}"#);
    let workflow_version = format!(r#"{{"team": "t", "workflow": "w", "workflow_version": "{hash}"}}"#);
    for (subject, body) in [
        ("p.v1.agents.a.execute", ""),
        ("p.v1.agents.a.execute", "{"),
        ("p.v1.agents.a.execute", "[]"),
        ("p.v1.agents.a.execute", "{}"),
        ("p.v1.agents.a.execute", r#"{"inputs": {}, "agent": "b"}"#),
        ("p.v1.agents.a.execute", r#"{"inputs": {}, "key": "run_1/step"}"#),
        ("p.v1.agents.a.execute", version.as_str()),
        ("p.v1.workflows.w.run", r#"{"key": "run_1/step"}"#),
        ("p.v1.workflows.w.run", version.as_str()),
        ("p.v1.teams.execute", r#"{"team": "t"}"#),
        ("p.v1.teams.execute", workflow_version.as_str()),
        ("p.v1.runs.r.get", r#"{"run": "s"}"#),
        ("p.v1.runs.r.cancel", r#"{"signal": "approve"}"#),
        ("p.v1.runs.r.signal", ""),
        ("p.v1.runs.r.signal", r#"{"signal": "cancel", "step": "a"}"#),
        ("p.v1.runs.r.signal", r#"{"signal": "approve", "step": "a", "run": "s"}"#),
        ("p.v1.runs.r.events", r#"{"after": -1}"#),
        ("p.v1.catalogue.agents.list", r#"{"id": "a"}"#),
        ("p.v1.requests", "{}"),
        ("p.v1.requests", r#"{"version": 1, "request": {"verb": "query", "query": "agents", "id": "a"}}"#),
        ("p.v1.requests", r#"{"version": 3, "request": {"verb": "query", "query": "agents"}}"#),
    ] {
        assert_eq!(read_message(subject, body).unwrap_err().code, ErrorCode::InvalidRequest, "{subject} {body}");
    }
    let large = " ".repeat(ENVELOPE_BYTES_MAX + 1);
    for subject in ["p.v1.agents.a.execute", "p.v1.requests", "p.v1.runs.r.get"] {
        assert_eq!(read_message(subject, &large).unwrap_err().code, ErrorCode::PayloadTooLarge, "{subject}");
    }
}
