//! Tests of versions, and of members that a document does not have.

use serde_json::json;

use super::*;
use crate::Envelope;

fn envelope(version: u16, more: &Json) -> Vec<u8> {
    let mut document = json!({
        "version": version,
        "credential": { "scheme": "bearer", "secret": "t" },
        "request": {
            "verb": "invoke", "agent": "a", "inputs": { "any": { "name": 1 } }, "options": { "model": "tier.small" },
        },
    });
    if let (Some(pointer), Some(target)) =
        (more["at"].as_str(), more["at"].as_str().and_then(|pointer| document.pointer_mut(pointer)))
    {
        target.as_object_mut().unwrap_or_else(|| panic!("{pointer}")).insert("later".to_owned(), json!({ "a": [1] }));
    }
    document.to_string().into_bytes()
}

#[test]
fn a_version_is_read_before_anything_else() {
    assert_eq!(peek_version(br#"{"request": [{}], "version": 7, "more": {"version": "x"}}"#), Ok(7));
    for bytes in
        [&b""[..], b"{}", b"[]", br#"{"version": -1}"#, br#"{"version": 65536}"#, br#"{"version": "1"}"#, b"\xff"]
    {
        assert_eq!(peek_version(bytes).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}

#[test]
fn a_version_outside_of_the_range_is_rejected_and_both_are_named() {
    assert_eq!(Reading::for_version(PROTOCOL_VERSION), Ok(Reading::Strict));
    assert_eq!(Reading::for_version(PROTOCOL_VERSION_READ_MAX), Ok(Reading::Lenient));
    for version in [PROTOCOL_VERSION_MIN - 1, PROTOCOL_VERSION_READ_MAX + 1, u16::MAX] {
        let cause = Envelope::decode(&envelope(version, &Json::Null)).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidRequest);
        let (found, own) = (format!("version {version};"), format!("has version {PROTOCOL_VERSION} "));
        assert!(cause.message.contains(&found) && cause.message.contains(&own), "{cause}");
    }
}

#[test]
fn an_unknown_member_is_an_error_in_the_own_version_and_ignored_in_the_next_one() {
    let expected = Envelope::decode(&envelope(PROTOCOL_VERSION, &Json::Null)).unwrap();
    for at in ["", "/credential", "/request", "/request/options"] {
        let more = json!({ "at": at });
        let cause = Envelope::decode(&envelope(PROTOCOL_VERSION, &more)).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidRequest, "{at}");
        assert!(cause.message.contains("later"), "{cause}");
        let read = Envelope::decode(&envelope(PROTOCOL_VERSION_READ_MAX, &more)).unwrap();
        assert_eq!(read.request, expected.request, "{at}");
    }
    for at in ["/request/inputs", "/request/inputs/any"] {
        let more = json!({ "at": at });
        let own = Envelope::decode(&envelope(PROTOCOL_VERSION, &more)).unwrap();
        let next = Envelope::decode(&envelope(PROTOCOL_VERSION_READ_MAX, &more)).unwrap();
        assert_eq!(own.request, next.request, "the values of an input are the caller's");
        assert_ne!(own.request, expected.request);
    }
}

#[test]
fn a_long_name_is_not_repeated_as_a_whole() {
    let name = "é".repeat(5_000);
    for document in [json!({ "version": 1, name.clone(): 1 }), json!({ "version": 1, "request": { "verb": name } })] {
        let cause = Envelope::decode(document.to_string().as_bytes()).unwrap_err();
        assert!(cause.message.len() < 1_000 && cause.message.ends_with('…'), "{}", cause.message.len());
    }
}

#[test]
fn what_the_type_alone_does_not_find_is_found_by_the_schema() {
    for request in [
        json!({ "verb": "signal_run", "run": "r", "signal": "cancel", "later": 1 }),
        json!({ "verb": "signal_run", "run": "r", "signal": "approve", "step": "s", "later": 1 }),
        json!({ "verb": "query", "query": "agents", "later": 1 }),
        json!({ "verb": "query", "query": "run", "run": "r", "later": 1 }),
        json!({ "verb": "maintain", "command": "verify_audit", "later": 1 }),
        json!({ "verb": "memory_write", "agent": "a", "change": { "forget": { "later": 1 } } }),
    ] {
        let document = |version: u16| json!({ "version": version, "request": request }).to_string().into_bytes();
        let cause = Envelope::decode(&document(PROTOCOL_VERSION)).unwrap_err();
        assert!(cause.message.contains("unknown field `request."), "{cause}");
        assert!(cause.message.contains("later"), "{cause}");
        Envelope::decode(&document(PROTOCOL_VERSION_READ_MAX)).unwrap();
    }
}

#[test]
fn a_member_that_occurs_twice_is_an_error_in_each_version() {
    for version in [PROTOCOL_VERSION, PROTOCOL_VERSION_READ_MAX] {
        let text = String::from_utf8(envelope(version, &Json::Null)).unwrap();
        for (member, twice, path) in [
            (r#"{"name":1}"#, r#"{"name":1,"name":2}"#, "request.inputs.any.name"),
            (r#""inputs":{"any""#, r#""inputs":{"any":0,"any""#, "request.inputs.any"),
            (r#""agent":"a""#, r#""agent":"a","agent":"b""#, "agent"),
        ] {
            assert!(text.contains(member), "{text}");
            let cause = Envelope::decode(text.replace(member, twice).as_bytes()).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidRequest, "{twice}");
            assert!(cause.message.contains(path), "{cause}");
        }
        let digits = text.replace(r#"{"name":1}"#, "18446744073709551616");
        let cause = Envelope::decode(digits.as_bytes()).unwrap_err();
        assert!(cause.message.contains("request.inputs.any` is 18446744073709551616"), "{cause}");
    }
}
