//! The route of MCP: credentials, headers, methods and pages of other sites.

use serde_json::json;

use super::fixture::{Fixture, Settings};

const KEY: &str = "Authorization: ApiKey k";
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::test]
async fn a_message_has_a_reply_and_a_notification_has_none() {
    let fixture = Fixture::start();
    let list = fixture.send("POST /mcp?category=finance", &[KEY], LIST).await;
    assert_eq!((list.status, list.json()["result"].clone()), (200, json!({"tools": []})));
    let credentials: Vec<bool> =
        fixture.script.sent.lock().unwrap().iter().map(|one| one.credential.is_some()).collect();
    assert_eq!(credentials, [true, true], "both lists are requested as the caller");
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let accepted = fixture.send("POST /mcp", &[KEY], notification).await;
    assert_eq!((accepted.status, accepted.body.as_str()), (202, ""));
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"agent_a"}}"#;
    fixture.send("POST /mcp", &[KEY, "Idempotency-Key: mine"], call).await;
    let key = fixture.script.sent.lock().unwrap().last().unwrap().idempotency_key.clone();
    assert_eq!(key.unwrap().as_str(), "mine");
}

#[tokio::test]
async fn a_caller_without_a_credential_and_a_stream_are_refused() {
    let fixture = Fixture::start();
    let anonymous = fixture.post("/mcp", LIST).await;
    assert_eq!((anonymous.status, anonymous.code().as_str()), (401, "unauthenticated"));
    assert!(anonymous.has_header("www-authenticate: bearer, apikey"), "{anonymous:?}");
    assert!(fixture.script.sent.lock().unwrap().is_empty());
    for line in ["GET /mcp", "DELETE /mcp"] {
        assert_eq!(fixture.send(line, &[KEY], "").await.status, 405, "{line}");
    }
    let open = Fixture::start_with(&Settings { has_identity: false, ..Settings::default() });
    assert_eq!(open.post("/mcp", LIST).await.status, 200);
}

#[tokio::test]
async fn pages_of_other_sites_send_no_messages() {
    let allowed = Settings { origins: vec!["https://app.example".to_owned()], ..Settings::default() };
    let fixture = Fixture::start_with(&allowed);
    let own = format!("Origin: http://{}", fixture.addr);
    for (origin, status) in [
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: https://app.example", 200),
        (own.as_str(), 200),
    ] {
        let response = fixture.send("POST /mcp", &[KEY, origin], LIST).await;
        assert_eq!(response.status, status, "{origin}: {response:?}");
    }
}

#[tokio::test]
async fn headers_that_contradict_the_body_and_what_is_no_message_are_refused() {
    let fixture = Fixture::start();
    let stateless = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list",
        "params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let cases: &[(&str, &str, u16, i64)] = &[
        ("MCP-Protocol-Version: 2025-11-25", stateless, 400, -32_020),
        ("Mcp-Method: tools/call", stateless, 400, -32_020),
        ("Mcp-Name: agent_a", stateless, 400, -32_020),
        ("MCP-Protocol-Version: 1999-01-01", LIST, 400, -32_020),
        ("MCP-Protocol-Version: 2026-07-28", LIST, 400, -32_020),
        ("Mcp-Method: tools/call", LIST, 400, -32_020),
        ("MCP-Protocol-Version: 2026-07-28", stateless, 400, -32_020),
        ("Mcp-Method: tools/list", stateless, 400, -32_020),
        ("Mcp-Method: tools/list", "[]", 400, -32_600),
        ("Mcp-Method: tools/list", "{", 400, -32_700),
    ];
    for (header, body, status, code) in cases {
        let response = fixture.send("POST /mcp", &[KEY, header], body).await;
        assert_eq!(
            (response.status, &response.json()["error"]["code"]),
            (*status, &json!(code)),
            "{header}: {response:?}"
        );
    }
    let headers = [KEY, "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/list"];
    let twice = [headers.as_slice(), &["Mcp-Method: tools/call"]].concat();
    assert_eq!(fixture.send("POST /mcp", &twice, stateless).await.status, 400);
    let call = stateless.replace("tools/list", "tools/call").replace("\"_meta\"", "\"name\":\"agent_a\",\"_meta\"");
    let unnamed = [KEY, "MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call"];
    let response = fixture.send("POST /mcp", &unnamed, &call).await;
    assert_eq!((response.status, &response.json()["error"]["code"]), (400, &json!(-32_020)), "{response:?}");
    let response = fixture.send("POST /mcp", &headers, stateless).await;
    assert_eq!((response.status, &response.json()["result"]["resultType"]), (200, &json!("complete")));
}
