//! APIs that are slow, broken or large: each call is a bounded result that the model reads, and the agent continues.

use std::time::Duration;

use anyhow::Result;
use greenroom_protocol::Status;
use greenroom_protocol::request::Page;
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use serde_json::json;

use super::{TOKEN, ToolPod};

/// A response with this media type and this body.
fn raw(media_type: &str, body: &[u8]) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    vec![Step::Send(head), Step::Bytes(body.to_vec())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_an_api_is_a_coded_result_and_the_agent_continues() -> Result<()> {
    let problem = format!(r#"{{"title": "Not yours", "detail": "{TOKEN}"}}"#);
    let cases: Vec<(Vec<Step>, &str)> = vec![
        (vec![Step::Send(response("404 Not Found", "", &problem))], "handler_failed"),
        (vec![Step::Send(response("429 Too Many Requests", "retry-after: 5\r\n", "{}"))], "overloaded"),
        (vec![Step::Send(response("500 Internal Server Error", "", "{}"))], "service_failed"),
        (raw("application/json", b"{\"a\": "), "service_failed"),
        (vec![Step::Reset], "service_failed"),
        (vec![Step::Silence], "timed_out"),
        (
            vec![
                Step::Send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n".to_owned()),
                Step::Endless("x".repeat(64 * 1024)),
            ],
            "service_failed",
        ),
        (vec![Step::Send(response("302 Found", "location: http://other.example/\r\n", ""))], "address_not_allowed"),
    ];
    for (steps, code) in cases {
        let server = ModelServer::start(move |_| steps.clone()).await?;
        let pod = ToolPod::start(&server, "get_order", json!({ "id": "7" }), |api| api.timeout_s = 1).await?;
        let reply = pod.call().await?;
        assert_eq!(reply.status, Status::Success, "{code}: {reply:?}");
        assert_eq!(pod.tool_calls().await?, [Some(code.to_owned())], "{reply:?}");
        let audit = serde_json::to_string(&pod.pod.admin()?.audit(Page { after: None, limit: 100 }).await?)?;
        assert!(!audit.contains(TOKEN), "no secret is recorded");
        pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_response_and_a_large_text_are_artifacts() -> Result<()> {
    let bytes: Vec<u8> = (0..=255).collect();
    let text = "x".repeat(2 * 1024 * 1024);
    for (media_type, body) in [("application/pdf", bytes), ("text/plain", text.into_bytes())] {
        let served = raw(media_type, &body);
        let server = ModelServer::start(move |_| served.clone()).await?;
        let pod = ToolPod::start(&server, "get_order", json!({ "id": "7" }), |_| ()).await?;
        let reply = pod.call().await?;
        assert_eq!(reply.outputs["text"], "an artifact", "{media_type}: {reply:?}");
        assert_eq!(pod.tool_calls().await?, [None], "{media_type}");
        pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_on_a_private_address_is_not_called_without_a_permission() -> Result<()> {
    let server = ModelServer::start(|_| vec![Step::Wait(Duration::ZERO)]).await?;
    let pod = ToolPod::start(&server, "get_order", json!({ "id": "7" }), |api| api.allow_private = false).await?;
    assert_eq!(pod.call().await?.status, Status::Success);
    assert_eq!((pod.tool_calls().await?, server.count()), (vec![Some("address_not_allowed".to_owned())], 0));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_fit_no_request_are_rejected_before_anything_is_sent() -> Result<()> {
    let server = ModelServer::start(|_| vec![Step::Send(response("200 OK", "", "{}"))]).await?;
    for (arguments, code) in [
        (json!({}), "missing_input"),
        (json!({ "id": ".." }), "invalid_input"),
        (json!({ "id": "../admin" }), "invalid_input"),
        (json!({ "id": "7", "other": 1 }), "invalid_input"),
        (json!({ "id": "7", "X-Region": "a\r\nx: y" }), "invalid_input"),
        (json!({ "id": "x".repeat(20_000) }), "payload_too_large"),
    ] {
        let pod = ToolPod::start(&server, "get_order", arguments.clone(), |_| ()).await?;
        assert_eq!(pod.call().await?.status, Status::Success);
        assert_eq!((pod.tool_calls().await?, server.count()), (vec![Some(code.to_owned())], 0), "{code}");
        pod.shutdown().await;
    }
    Ok(())
}
