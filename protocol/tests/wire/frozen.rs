//! This release against documents of version 1, which are frozen: they are never regenerated. It reads them, and writes the
//! same. With a later version planted into them, and members, codes and kinds that only that version has, they are read by
//! the rule of `protocol/src/peek.rs`.

use greenroom_protocol::audit;
use greenroom_protocol::event::{RunEvent, RunEventKind};
use greenroom_protocol::journal::Entry;
use greenroom_protocol::limits::{PROTOCOL_VERSION, PROTOCOL_VERSION_READ_MAX};
use greenroom_protocol::{Envelope, ErrorCode, Json, Reply, Request, Status, WrittenVersion};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

const REQUESTS: [&str; 6] = [
    include_str!("frozen/version_1/requests_of_work.json"),
    include_str!("frozen/version_1/requests_to_runs.json"),
    include_str!("frozen/version_1/requests_of_context_and_tools.json"),
    include_str!("frozen/version_1/requests_of_memory.json"),
    include_str!("frozen/version_1/requests_to_query.json"),
    include_str!("frozen/version_1/requests_of_maintenance.json"),
];
const ENVELOPES: &str = include_str!("frozen/version_1/envelopes.json");
const REPLIES: &str = include_str!("frozen/version_1/replies.json");
const RUN_EVENTS: &str = include_str!("frozen/version_1/run_events.json");
const JOURNALS: [&str; 3] = [
    include_str!("frozen/version_1/journal_of_start.json"),
    include_str!("frozen/version_1/journal_of_steps.json"),
    include_str!("frozen/version_1/journal_of_runs.json"),
];
const AUDIT_RECORDS: &str = include_str!("frozen/version_1/audit_records.json");
const CODES: &str = include_str!("frozen/version_1/codes.json");

/// Members whose content belongs to a caller, an agent or the text of an error, and those that are maps by id: nothing in
/// them is unknown.
const FREE_MEMBERS: [&str; 12] = [
    "inputs",
    "context",
    "arguments",
    "put",
    "append",
    "inline",
    "outputs",
    "details",
    "member",
    "agents",
    "workflows",
    "teams",
];

fn documents(text: &str) -> Vec<Json> {
    serde_json::from_str(text).expect("a frozen file is a list")
}

fn entries() -> impl Iterator<Item = Json> {
    JOURNALS.into_iter().flat_map(documents)
}

/// Every envelope of the files, each request within one of its own.
fn envelopes() -> Vec<Json> {
    let requests = REQUESTS.into_iter().flat_map(documents);
    let bare = requests.map(|request| json!({ "version": 1, "request": request }));
    documents(ENVELOPES).into_iter().chain(bare).collect()
}

fn decode(document: &Json) -> Result<Envelope, greenroom_protocol::Cause> {
    Envelope::decode(document.to_string().as_bytes())
}

/// The pointers of all objects whose members the protocol defines.
fn objects(document: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![(String::new(), document)];
    while let Some((pointer, value)) = pending.pop() {
        match value {
            Json::Object(members) => {
                let defined = members.iter().filter(|(name, _)| !FREE_MEMBERS.contains(&name.as_str()));
                pending
                    .extend(defined.map(|(name, member)| (format!("{pointer}/{}", name.replace('/', "~1")), member)));
                found.push(pointer);
            }
            Json::Array(items) => {
                pending.extend(items.iter().enumerate().map(|(index, item)| (format!("{pointer}/{index}"), item)));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
    found
}

/// The document with a member of a later version in the object at the pointer.
fn plant(document: &Json, pointer: &str) -> Json {
    let mut document = document.clone();
    let object = document.pointer_mut(pointer).and_then(Json::as_object_mut).expect("there is an object");
    object.insert("planted".to_owned(), json!({ "by": ["a later version"] }));
    document
}

fn with_version(document: &Json, member: &str, version: u16) -> Json {
    let mut document = document.clone();
    document.as_object_mut().expect("there is an object").insert(member.to_owned(), version.into());
    document
}

fn read<T: DeserializeOwned>(document: &Json) -> T {
    serde_json::from_value(document.clone()).expect("it can be read")
}

fn assert_unchanged<T: Serialize + DeserializeOwned>(document: &Json) {
    let output = serde_json::to_value(read::<T>(document)).expect("it can be written");
    assert_eq!(&output, document, "a document of version 1 is written as it was");
}

#[test]
fn what_version_1_wrote_is_read_and_written_as_it_was() {
    for document in envelopes() {
        assert_eq!(serde_json::to_value(decode(&document).expect("it can be read")).ok(), Some(document));
    }
    documents(REPLIES).iter().for_each(assert_unchanged::<Reply>);
    documents(RUN_EVENTS).iter().for_each(assert_unchanged::<RunEvent>);
    documents(AUDIT_RECORDS).iter().for_each(assert_unchanged::<audit::Record>);
    for document in entries() {
        let entry = Entry::from_stored(&document.to_string()).expect("it can be read");
        assert_eq!(serde_json::from_str::<Json>(&entry.to_stored().expect("it can be written")).ok(), Some(document));
    }
    for code in documents(CODES) {
        assert_ne!(read::<ErrorCode>(&code), ErrorCode::Unknown, "{code}");
    }
}

#[test]
fn a_request_of_the_next_version_is_read_without_what_is_unknown_and_one_of_this_version_is_rejected() {
    let mut objects_planted = 0;
    for document in envelopes() {
        let request = decode(&document).expect("it can be read").request;
        for pointer in objects(&document) {
            let own = plant(&document, &pointer);
            let cause = decode(&own).expect_err("an unknown member of this version is an error");
            assert_eq!(cause.code, ErrorCode::InvalidRequest, "{own}");
            let next = with_version(&own, "version", PROTOCOL_VERSION_READ_MAX);
            let read = decode(&next).unwrap_or_else(|cause| panic!("{next}: {cause}"));
            assert_eq!((read.request, read.version), (request.clone(), PROTOCOL_VERSION_READ_MAX), "{next}");
            objects_planted += 1;
        }
        let later = with_version(&document, "version", PROTOCOL_VERSION_READ_MAX + 1);
        let cause = decode(&later).expect_err("a later version cannot be read");
        let sentence =
            format!("version {}; this release has version {PROTOCOL_VERSION}", PROTOCOL_VERSION_READ_MAX + 1);
        assert!(cause.message.contains(&sentence), "{cause}");
    }
    assert!(objects_planted > 80, "{objects_planted}");
}

#[test]
fn a_verb_of_the_next_version_is_rejected() {
    for request in [
        json!({ "verb": "planted" }),
        json!({ "verb": "query", "query": "planted" }),
        json!({ "verb": "signal_run", "run": "run_01", "signal": "planted" }),
    ] {
        let cause = decode(&json!({ "version": PROTOCOL_VERSION_READ_MAX, "request": request })).expect_err("unknown");
        assert!(cause.code == ErrorCode::InvalidRequest && cause.message.contains("planted"), "{cause}");
    }
}

#[test]
fn a_reply_of_the_next_version_is_read_with_its_code_and_status_as_unknown() {
    for document in documents(REPLIES) {
        let expected = read::<Reply>(&document);
        for pointer in objects(&document) {
            let next = with_version(&plant(&document, &pointer), "protocol_version", PROTOCOL_VERSION_READ_MAX);
            let reply = read::<Reply>(&next);
            assert_eq!(reply.protocol_version, WrittenVersion(PROTOCOL_VERSION_READ_MAX));
            assert_eq!(Reply { protocol_version: expected.protocol_version, ..reply }, expected, "{next}");
        }
        let mut next = document;
        next["status"] = "planted".into();
        if expected.error.is_some() {
            next["error"]["code"] = "planted".into();
        }
        let reply = read::<Reply>(&next);
        assert_eq!(reply.status, Status::Failed);
        assert_ne!(reply.exit_code(), 0, "what is unknown is no success");
        assert_eq!(reply.error.map(|cause| cause.code), expected.error.map(|_| ErrorCode::Unknown));
    }
}

#[test]
fn an_event_of_the_next_version_is_read_and_an_unknown_kind_is_unknown() {
    for document in documents(RUN_EVENTS) {
        let expected = read::<RunEvent>(&document);
        for pointer in objects(&document) {
            let next = with_version(&plant(&document, &pointer), "protocol_version", PROTOCOL_VERSION_READ_MAX);
            let event = read::<RunEvent>(&next);
            assert_eq!(event.protocol_version, WrittenVersion(PROTOCOL_VERSION_READ_MAX));
            assert_eq!(event.kind, expected.kind, "{next}");
        }
        let mut next = document;
        next["event"] = "planted".into();
        let event = read::<RunEvent>(&next);
        assert_eq!((event.seq, event.kind), (expected.seq, RunEventKind::Unknown));
    }
}

#[test]
fn an_entry_of_the_next_version_is_read_and_an_unknown_kind_is_never_skipped() {
    for document in entries() {
        let expected = Entry::from_stored(&document.to_string()).expect("it can be read");
        for pointer in objects(&document) {
            let next = with_version(&plant(&document, &pointer), "protocol_version", PROTOCOL_VERSION_READ_MAX);
            let entry = Entry::from_stored(&next.to_string()).unwrap_or_else(|error| panic!("{next}: {error}"));
            assert_eq!(entry, expected, "{next}");
        }
        let later = with_version(&document, "protocol_version", PROTOCOL_VERSION_READ_MAX + 1);
        assert!(Entry::from_stored(&later.to_string()).is_err(), "{later}");
        let mut unknown = with_version(&document, "protocol_version", PROTOCOL_VERSION_READ_MAX);
        unknown["entry"] = "planted".into();
        assert!(Entry::from_stored(&unknown.to_string()).is_err(), "{unknown}");
    }
}

#[test]
fn a_record_of_the_next_version_is_read_and_an_unknown_event_survives() {
    for document in documents(AUDIT_RECORDS) {
        let expected = read::<audit::Record>(&document);
        let next = with_version(&plant(&document, ""), "protocol_version", PROTOCOL_VERSION_READ_MAX);
        let record = read::<audit::Record>(&next);
        assert_eq!(record.protocol_version, WrittenVersion(PROTOCOL_VERSION_READ_MAX));
        assert_eq!((record.number, record.event), (expected.number, expected.event));
        let mut unknown = document;
        unknown["event"]["kind"] = "planted".into();
        let record = read::<audit::Record>(&unknown);
        assert_eq!(serde_json::to_value(record.event).ok(), Some(unknown["event"].clone()), "it is written as it was");
    }
    let mut closed = documents(AUDIT_RECORDS).swap_remove(1);
    closed["event"]["code"] = "planted".into();
    let audit::Event::Closed { closing, .. } = read::<audit::Record>(&closed).event else { panic!("{closed}") };
    assert_eq!(closing.code, Some(ErrorCode::Unknown));
}

#[test]
fn no_member_that_only_the_platform_sets_comes_from_outside() {
    for document in envelopes() {
        let envelope = decode(&document).expect("it can be read");
        // The `key` of a context is its caller's.
        let is_context = matches!(envelope.request, Request::ContextWrite(_));
        let inner = ["key", "version", "workflow_version"];
        let has_inner = !is_context && inner.iter().any(|name| document["request"].get(name).is_some());
        assert_eq!(envelope.request.check_outside().is_err(), has_inner, "{document}");
    }
}
