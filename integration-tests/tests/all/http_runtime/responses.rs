//! Responses that have no outputs: each is a bounded, coded error of its call, and the next call succeeds.

use std::time::Duration;

use anyhow::{Context, Result};
use greenroom_protocol::Status;
use greenroom_runtimes::model_server::{ModelServer, Step, response};

use super::{ServicePod, TOKEN, code, good};

/// A response with these header lines and this body, whose length is stated.
fn raw(headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"))]
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_outputs_is_a_coded_error_and_the_next_call_succeeds() -> Result<()> {
    let problem = format!(r#"{{"title": "No such text", "detail": "you sent Bearer {TOKEN}"}}"#);
    let rejected = response("422 Unprocessable Content", "", &problem);
    let cases: Vec<(Vec<Step>, &str, &str)> = vec![
        (raw("content-type: text/html\r\n", "<html>"), "service_failed", "content type"),
        (raw("", "{}"), "service_failed", "content type"),
        (raw(JSON, "garbage"), "service_failed", "no JSON at line 1"),
        (raw(JSON, ""), "service_failed", "no JSON"),
        (raw(JSON, r#"{"text": "done"}"#), "service_failed", "outputs"),
        (raw(JSON, r#"{"outputs": {"text": 7}}"#), "invalid_output", "text"),
        (raw(JSON, r#"{"outputs": {}}"#), "invalid_output", "text"),
        (raw("content-type: application/json\r\ncontent-encoding: gzip\r\n", "x"), "service_failed", "compressed"),
        (
            vec![Step::Send(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 99999999999\r\n\r\n"))],
            "service_failed",
            "more than",
        ),
        (
            vec![
                Step::Send(format!("HTTP/1.1 200 OK\r\n{JSON}connection: close\r\n\r\n")),
                Step::Endless("x".repeat(64 * 1024)),
            ],
            "service_failed",
            "more than",
        ),
        (
            vec![Step::Send(format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 100\r\n\r\n{{\"outputs\""))],
            "service_failed",
            "broke off",
        ),
        (vec![Step::Reset], "service_failed", "broke off"),
        (vec![Step::Send("garbage\r\n\r\n".to_owned())], "service_failed", ""),
        (vec![Step::Send(rejected)], "handler_failed", "No such text: you sent ***"),
        (vec![Step::Send(response("204 No Content", "", ""))], "service_failed", "204"),
        (vec![Step::Send(response("502 Bad Gateway", "", "{}"))], "service_failed", "502"),
    ];
    let count = cases.len();
    let scripts: Vec<Vec<Step>> = cases.iter().map(|(steps, _, _)| steps.clone()).collect();
    let server = ModelServer::start(move |request| scripts.get(request.number).cloned().unwrap_or_else(good)).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
    for (number, (_, expected, text)) in cases.iter().enumerate() {
        let reply = pod.call().await?;
        assert_eq!(code(&reply), Some(*expected), "{number}: {reply:?}");
        let message = reply.error.context("a cause")?.message;
        assert!(message.contains(text) && message.len() < 1_000 && !message.contains(TOKEN), "{number}: {message}");
    }
    assert_eq!((pod.call().await?.status, server.count()), (Status::Success, count + 1));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_silent_or_too_slow_times_out() -> Result<()> {
    let slow = || -> Vec<Step> {
        let pieces =
            (0..100).flat_map(|_| [Step::Send("1\r\n{\r\n".to_owned()), Step::Wait(Duration::from_millis(100))]);
        let head = format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\n\r\n");
        [Step::Send(head)].into_iter().chain(pieces).collect()
    };
    let server =
        ModelServer::start(move |request| if request.number == 0 { vec![Step::Silence] } else { slow() }).await?;
    let pod = ServicePod::for_server(&server, "  timeout: 1").await?;
    for _ in 0..2 {
        let reply = pod.call().await?;
        assert_eq!((reply.status, code(&reply)), (Status::TimedOut, Some("timed_out")), "{reply:?}");
    }
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_fails_and_nothing_was_sent() -> Result<()> {
    // The port was free a moment ago, and nothing listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("http://127.0.0.1:{port}/");
    let pod = ServicePod::start(&address, "  timeout: 30", &[("127.0.0.1", super::allowed())]).await?;
    let reply = pod.call().await?;
    assert_eq!(code(&reply), Some("service_failed"), "{reply:?}");
    assert!(reply.error.context("a cause")?.message.contains("cannot be reached"));
    pod.shutdown().await;
    Ok(())
}
