//! A session over lines: replies, cancellation, progress, and what is no message.

use std::sync::Arc;

use super::*;
use crate::mcp::tests::Pod;

/// Bound of everything that a test waits for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A session with the ends of its client.
struct Harness {
    lines: Option<mpsc::Sender<Line>>,
    out: mpsc::Receiver<String>,
}

impl Harness {
    async fn send(&self, message: Json) {
        let line = Line::Complete(message.to_string().into_bytes());
        self.lines.as_ref().unwrap().send(line).await.unwrap_or_else(|_| panic!("the session has ended"));
    }

    async fn receive(&mut self) -> Json {
        let text = tokio::time::timeout(WAIT_MAX, self.out.recv()).await.unwrap().unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

async fn with_session(pod: Arc<Pod>, client_side: impl AsyncFnOnce(Harness)) {
    let (server, client) = (McpServer::default(), Client::new(pod));
    let (lines_tx, lines) = mpsc::channel(256);
    let (out_tx, out) = mpsc::channel(256);
    let session = StdioSession::new(&server, &client, None, out_tx).serve(lines);
    let harness = Harness { lines: Some(lines_tx), out };
    tokio::join!(session, client_side(harness));
}

fn message(id: u64, method: &str, params: Json) -> Json {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

#[tokio::test]
async fn requests_have_replies_and_the_end_of_the_client_ends_the_session() {
    with_session(Arc::default(), async |mut client| {
        client.send(message(1, "initialize", json!({}))).await;
        assert_eq!(client.receive().await["result"]["protocolVersion"], "2025-11-25");
        client.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        client.send(message(2, "tools/call", json!({"name": "agent_writer"}))).await;
        let reply = client.receive().await;
        assert_eq!((&reply["id"], &reply["result"]["isError"]), (&json!(2), &json!(false)));
        client.lines.as_ref().unwrap().send(Line::TooLong { bytes_max: 9 }).await.unwrap_or_else(|_| panic!("ended"));
        assert_eq!(client.receive().await["error"]["data"]["code"], "payload_too_large");
        client.lines.as_ref().unwrap().send(Line::Complete(b"{".to_vec())).await.unwrap_or_else(|_| panic!("ended"));
        assert_eq!(client.receive().await["error"]["code"], -32_700);
    })
    .await;
}

#[tokio::test]
async fn a_text_and_a_number_are_different_ids_and_an_id_is_one_key() {
    let pod = Arc::new(Pod::default());
    with_session(Arc::clone(&pod), async |mut client| {
        for id in [json!(1), json!("1"), json!(1), json!("an id that no key can be \u{e4}")] {
            let params = json!({"name": "agent_writer"});
            client.send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})).await;
            assert_eq!(client.receive().await["id"], id);
        }
    })
    .await;
    let sent = pod.sent.lock().unwrap();
    let keys: Vec<&str> = sent.iter().map(|envelope| envelope.idempotency_key.as_ref().unwrap().as_str()).collect();
    assert!(keys.len() == 4 && keys[0] == keys[2] && keys[0] != keys[1] && keys[3] != keys[1], "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_lasts_has_progress_and_can_be_cancelled() {
    let pod = Arc::new(Pod { is_silent: true, ..Pod::default() });
    with_session(pod, async |mut client| {
        let call = json!({"name": "workflow_report", "_meta": {"progressToken": "p"}});
        client.send(message(1, "tools/call", call)).await;
        for progress in 1..=2 {
            let notification = client.receive().await;
            assert_eq!(notification["method"], "notifications/progress");
            assert_eq!(notification["params"]["progress"], progress);
        }
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        client.send(cancel).await;
        client.send(message(2, "ping", json!({}))).await;
        let reply = client.receive().await;
        assert_eq!(reply["id"], 2, "a cancelled request has no reply: {reply}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_bound_are_refused() {
    let pod = Arc::new(Pod { is_silent: true, ..Pod::default() });
    with_session(pod, async |mut client| {
        for id in 0..=64 {
            client.send(message(id, "tools/call", json!({"name": "agent_writer"}))).await;
        }
        let refused = client.receive().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(64), &json!(-32_000)));
    })
    .await;
}
