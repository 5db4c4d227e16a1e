//! What a request becomes, and what its reply becomes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use greenroom_client::TransportError;
use greenroom_protocol::request::{Query, Signal, SignalRun};
use greenroom_protocol::{Cause, ContentHash, Credential, ErrorCode, Json, Request, RunId, StepId, Values};
use serde_json::json;

use super::fixture::{Fixture, Response, reply};

#[tokio::test]
async fn a_call_has_the_headers_of_its_request() {
    let fixture = Fixture::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let headers = [
        "Authorization: Bearer planted-token",
        "Idempotency-Key: once",
        &format!("traceparent: 00-{trace}-b7ad6b7169203331-01"),
        "Greenroom-Timeout: 9000",
        "Prefer: wait=5",
    ];
    let body = json!({ "inputs": { "text": "x" }, "options": { "model": "p.m" } }).to_string();
    let response = fixture.send("POST /v1/agents/echo.v1/execute", &headers, &body).await;
    assert_eq!((response.status, &response.json()["outputs"]), (200, &json!({ "ok": true })), "{response:?}");
    let sent = fixture.script.sent.lock().unwrap().clone();
    assert_eq!(sent[0].credential, Some(Credential::Bearer("planted-token".into())));
    assert_eq!(sent[0].idempotency_key.as_ref().map(ToString::to_string).as_deref(), Some("once"));
    assert_eq!(sent[0].trace.as_ref().map(ToString::to_string).as_deref(), Some(trace));
    assert_eq!(sent[0].timeout_ms, Some(5_000), "the shorter one counts");
    let Request::Invoke(invoke) = &sent[0].request else { panic!("{sent:?}") };
    assert_eq!((invoke.agent.as_str(), &invoke.inputs["text"]), ("echo.v1", &json!("x")));
}

#[tokio::test]
async fn a_run_that_is_accepted_has_a_location() {
    let fixture = Fixture::start();
    let path = "POST /v1/workflows/report/run";
    let preferred = fixture.send(path, &["Prefer: respond-async"], "").await;
    assert_eq!(preferred.status, 202, "{preferred:?}");
    assert!(preferred.has_header("location: /v1/runs/run_1"), "{preferred:?}");
    assert!(preferred.has_header("preference-applied: respond-async"), "{preferred:?}");
    let detached = fixture.send(path, &[], &json!({ "inputs": {}, "detach": true }).to_string()).await;
    assert_eq!((detached.status, detached.headers.contains("preference-applied")), (202, false));
    assert_eq!(fixture.send(path, &[], "").await.status, 200);
    let agent = fixture.send("POST /v1/agents/a/execute", &["Prefer: respond-async"], r#"{"inputs":{}}"#).await;
    assert_eq!(agent.status, 200, "a call of an agent starts no run");
    let sent = fixture.script.sent.lock().unwrap();
    let is_detached = |index: usize| matches!(&sent[index].request, Request::StartRun(start) if start.detach);
    assert!(is_detached(0) && is_detached(1) && !is_detached(2));
}

#[tokio::test]
async fn each_path_sends_its_own_request() {
    let fixture = Fixture::start();
    let run = RunId::new("run_1").unwrap();
    let step = StepId::new("sign").unwrap();
    let posts = [
        ("/v1/runs/run_1/cancel", "", Signal::Cancel),
        ("/v1/runs/run_1/approve", r#"{"step":"sign"}"#, Signal::Approve { step: step.clone(), call: None }),
        (
            "/v1/runs/run_1/reject",
            r#"{"step":"sign"}"#,
            Signal::Reject { step: step.clone(), call: None, reason: None },
        ),
        ("/v1/runs/run_1/signal", r#"{"signal":"cancel"}"#, Signal::Cancel),
    ];
    for (path, body, signal) in posts {
        assert_eq!(fixture.post(path, body).await.status, 200, "{path}");
        let sent = fixture.script.sent.lock().unwrap().pop().unwrap();
        assert_eq!(sent.request, Request::SignalRun(SignalRun { run: run.clone(), signal }), "{path}");
    }
    let response = fixture.get("/v1/runs?status=failed&workflow=report&limit=7&after=12").await;
    assert_eq!(response.status, 200, "{response:?}");
    let sent = fixture.script.sent.lock().unwrap().pop().unwrap();
    let Request::Query(Query::Runs { filter, page }) = sent.request else { panic!("{sent:?}") };
    assert_eq!((page.limit, page.after.as_deref()), (7, Some("12")));
    assert_eq!(
        (filter.status.map(|status| status.as_str()), filter.workflow.unwrap().as_str()),
        (Some("failed"), "report")
    );
    for (path, verb) in [("/v1/agents", "agents"), ("/v1/workflows/w", "workflow"), ("/v1/runs/run_1", "run")] {
        assert_eq!(fixture.get(path).await.status, 200, "{path}");
        let sent = fixture.script.sent.lock().unwrap().pop().unwrap();
        assert_eq!(serde_json::to_value(&sent.request).unwrap()["query"], verb, "{path}");
    }
    let envelope = json!({ "version": 1, "id": "named", "request": { "verb": "query", "query": "teams" } });
    assert_eq!(fixture.post("/v1/requests", &envelope.to_string()).await.status, 200);
    let sent = fixture.script.sent.lock().unwrap().pop().unwrap();
    assert_eq!((sent.id.unwrap().as_str(), sent.request), ("named", Request::Query(Query::Teams)));
}

#[tokio::test]
async fn a_reply_that_is_no_success_is_a_problem_with_its_code() {
    let fixture = Fixture::start();
    let send = async |outcome| -> Response {
        fixture.script.replies.lock().unwrap().push_back(outcome);
        fixture.post("/v1/agents/a/execute", r#"{"inputs":{}}"#).await
    };
    let overloaded = Cause::new(ErrorCode::Overloaded, "full").with_retry_after(Duration::from_millis(1_500));
    let response = send(Ok(reply(Values::new(), Some(overloaded)))).await;
    assert_eq!((response.status, response.code()), (429, "overloaded".to_owned()));
    assert!(response.has_header("retry-after: 2") && response.json()["retry_after_ms"] == 1_500, "{response:?}");
    assert_eq!(response.json()["reply"]["id"], "run_1");
    let denied = Cause::new(ErrorCode::PolicyDenied, "no").with_details(json!({ "reasons": ["role"] }));
    let response = send(Ok(reply(Values::new(), Some(denied)))).await;
    assert_eq!((response.status, &response.json()["details"]["reasons"][0]), (403, &json!("role")));
    for (error, status) in [
        (TransportError::Rejected(Cause::new(ErrorCode::InvalidRequest, "no")), 400),
        (TransportError::Unreachable { address: "a".into(), reason: "b".into() }, 503),
        (TransportError::ConnectionLost, 503),
        (TransportError::InvalidResponse { reason: "c".into() }, 500),
    ] {
        assert_eq!(send(Err(error)).await.status, status);
    }
}

#[tokio::test]
async fn an_artifact_is_uploaded_and_read_in_parts() {
    let fixture = Fixture::start();
    let upload = "POST /v1/artifacts?name=note.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                  Content-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc";
    let response = fixture.raw(upload.as_bytes()).await;
    let hash = ContentHash::from_content(b"abc");
    assert!(response.starts_with("HTTP/1.1 201 ") && response.contains(&format!("/v1/artifacts/{hash}")), "{response}");
    let uploaded = fixture.script.uploaded.lock().unwrap().pop().unwrap();
    assert_eq!((uploaded.name.as_str(), uploaded.media_type.as_str()), ("note.txt", "text/plain"));

    let part = |content: &str, next: Option<u64>| {
        let outputs = [("content", json!(STANDARD.encode(content))), ("bytes", json!(10)), ("next", json!(next))];
        Ok(reply(outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), None))
    };
    let path = format!("/v1/artifacts/{hash}");
    let read = async |range: &str, parts: Vec<_>| -> Response {
        fixture.script.replies.lock().unwrap().extend(parts);
        fixture.send(&format!("GET {path}"), &[range], "").await
    };
    let whole = read("X: y", vec![part("01234", Some(5)), part("56789", None)]).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, "0123456789"));
    assert!(whole.has_header("content-length: 10") && whole.headers.contains("attachment"), "{whole:?}");
    let range = read("Range: bytes=3-6", vec![part("34", Some(5)), part("56789", None)]).await;
    assert_eq!((range.status, range.body.as_str()), (206, "3456"));
    assert!(range.has_header("content-range: bytes 3-6/10"), "{range:?}");
    let last = read("Range: bytes=-2", vec![part("01234", Some(5)), part("89", None)]).await;
    assert_eq!((last.status, last.body.as_str()), (206, "89"));
    let none = read("Range: bytes=10-", vec![part("", None)]).await;
    assert!(none.status == 416 && none.has_header("content-range: bytes */10"), "{none:?}");
    let same = read(&format!("If-None-Match: \"{hash}\""), vec![part("01234", Some(5))]).await;
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    let unknown = Ok(reply(Values::new(), Some(Cause::new(ErrorCode::UnknownRecord, "none"))));
    assert_eq!(read("X: y", vec![unknown]).await.status, 404);
    let sent = fixture.script.sent.lock().unwrap();
    let positions: Vec<Json> =
        sent.iter().map(|one| serde_json::to_value(&one.request).unwrap()["after"].clone()).collect();
    assert_eq!(positions, [0, 5, 3, 5, 0, 8, 10, 0, 0].map(Json::from));
}
