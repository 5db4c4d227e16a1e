//! What is refused: requests that cannot be read, bodies that are too large or end early, floods of headers, pairs of
//! headers by which a request is hidden in another one, pages of other sites, and addresses that other machines reach.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use greenroom_protocol::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fixture::{Fixture, Script, Settings, WAIT_MAX, config, host};
use crate::bridge::{BridgeServer, Health};

const EXECUTE: &str = "/v1/agents/a/execute";

#[tokio::test]
async fn a_request_that_cannot_be_read_is_a_problem_and_is_not_sent() {
    let fixture = Fixture::start();
    let cases: &[(&str, &[&str], &str, u16)] = &[
        ("GET /nothing", &[], "", 404),
        ("GET /v1/agents/a/execute", &[], "", 405),
        ("DELETE /v1/runs/run_1", &[], "", 405),
        ("POST /v1/agents/a/execute", &[], "", 400),
        ("POST /v1/agents/a/execute", &[], "{", 400),
        ("POST /v1/agents/a/execute", &[], "[]", 400),
        ("POST /v1/agents/a/execute", &[], r#"{"inputs":3}"#, 400),
        ("POST /v1/agents/a/execute", &[], r#"{"inputs":{},"version":"x"}"#, 400),
        ("POST /v1/agents/a%20b/execute", &[], r#"{"inputs":{}}"#, 400),
        ("POST /v1/agents/%ff/execute", &[], r#"{"inputs":{}}"#, 400),
        ("POST /v1/agents/a/execute?x=1", &[], r#"{"inputs":{}}"#, 400),
        ("POST /v1/agents/a/execute", &[], r#"{"inputs":{"a":1,"a":2}}"#, 400),
        ("POST /v1/workflows/w/run", &[], r#"{"inputs":{"rows":[{"id":18446744073709551616}]}}"#, 400),
        ("POST /v1/runs/run_1/approve", &[], r#"{"step":"a","step":"b"}"#, 400),
        ("POST /v1/runs/run_1/cancel", &[], r#"{"signal":"cancel"}"#, 400),
        ("POST /v1/runs/run_1/approve", &[], r#"{"signal":"cancel","step":"a"}"#, 400),
        ("POST /v1/requests", &[], r#"{"version":1,"request":{"verb":"maintain","maintenance":"check"}}"#, 400),
        ("GET /v1/runs?limit=many", &[], "", 400),
        ("GET /v1/runs?status=odd", &[], "", 400),
        ("GET /v1/runs?limit=1&limit=2", &[], "", 400),
        ("GET /v1/artifacts/nohash", &[], "", 400),
        ("GET /v1/agents", &["Authorization: Basic eA=="], "", 401),
        ("GET /v1/agents", &["Authorization: Delegation x"], "", 401),
        ("GET /v1/agents", &["Authorization: Bearer a", "Authorization: Bearer b"], "", 400),
        ("GET /v1/agents", &["Greenroom-Timeout: soon"], "", 400),
        ("GET /v1/agents", &["Greenroom-Version: 99"], "", 400),
        ("GET /v1/agents", &["traceparent: x"], "", 400),
    ];
    for (line, headers, body, status) in cases {
        let response = fixture.send(line, headers, body).await;
        assert_eq!(response.status, *status, "{line} {headers:?} {body}: {response:?}");
        assert!(response.has_header("content-type: application/problem+json"), "{line}: {response:?}");
        assert!(response.json()["detail"].is_string() && !response.code().is_empty(), "{line}: {response:?}");
    }
    assert!(fixture.script.sent.lock().unwrap().is_empty());
    let allow = fixture.send("GET /v1/agents/a/execute", &[], "").await;
    assert!(allow.has_header("allow: post"), "{allow:?}");
}

#[tokio::test]
async fn a_body_of_another_type_size_or_length_is_refused() {
    let fixture = Fixture::start();
    let head = |extra: &str| format!("POST {EXECUTE} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{extra}\r\n\r\n");
    let form = head("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3") + "a=b";
    assert!(fixture.raw(form.as_bytes()).await.starts_with("HTTP/1.1 415 "));
    // It is refused by its header: nothing of it is read.
    let large = head("Content-Type: application/json\r\nContent-Length: 31457280");
    assert!(fixture.raw(large.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    let chunked = head("Content-Type: application/json\r\nTransfer-Encoding: chunked");
    let endless = format!("{chunked}{}", format!("100000\r\n{}\r\n", " ".repeat(0x10_0000)).repeat(17));
    assert!(fixture.raw(endless.as_bytes()).await.contains(" 413 "), "a body in chunks has the same bound");
    let upload = "POST /v1/artifacts?name=a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1025\r\n\r\n";
    assert!(fixture.raw(upload.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    let broken = format!("{chunked}zz\r\nnot a chunk\r\n0\r\n\r\n");
    assert!(fixture.raw(broken.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    assert!(fixture.script.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_sent() {
    let fixture = Fixture::start();
    let mut stream = fixture.connect().await;
    let head =
        format!("POST {EXECUTE} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n");
    stream.write_all(format!("{head}{{\"inputs\":").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut response = Vec::new();
    let _ = tokio::time::timeout(WAIT_MAX, stream.read_to_end(&mut response)).await.unwrap();
    assert!(!String::from_utf8_lossy(&response).contains(" 200 "));
    assert!(fixture.script.sent.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_hidden_in_another_one_is_not_served() {
    let fixture = Fixture::start();
    let hidden = "GET /v1/teams HTTP/1.1\r\nHost: h\r\n\r\n";
    let (length, json) = (hidden.len(), "Content-Type: application/json");
    let head = format!("POST {EXECUTE} HTTP/1.1\r\nHost: h\r\n{json}\r\n");
    for pair in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: +0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
    ] {
        let response = fixture.raw(format!("{head}{pair}").as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{pair}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{pair}: {response}");
        assert!(fixture.script.sent.lock().unwrap().is_empty(), "{pair}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let fixture = Fixture::start();
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let response = fixture.raw(format!("GET /ping HTTP/1.1\r\nHost: h\r\n{many}\r\n").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    let long = format!("GET /ping HTTP/1.1\r\nHost: h\r\nx: {}\r\n\r\n", "y".repeat(200 * 1024));
    let response = fixture.raw(long.as_bytes()).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 431 "), "{response}");
}

#[tokio::test]
async fn without_identities_only_pages_and_names_of_this_machine_are_served() {
    let origins = vec!["https://app.example".to_owned()];
    let fixture = Fixture::start_with(&Settings { has_identity: false, origins, ..Settings::default() });
    let send = async |host: &str, origin: &str| {
        let request = format!("GET /v1/agents HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{origin}\r\n");
        fixture.raw(request.as_bytes()).await[9..12].to_owned()
    };
    assert_eq!(send("localhost:8000", "").await, "200");
    assert_eq!(send("localhost:8000", "Origin: http://localhost:8000\r\n").await, "200");
    assert_eq!(send("127.0.0.1", "Origin: https://app.example\r\n").await, "200");
    assert_eq!(send("attacker.example", "").await, "401");
    assert_eq!(send("127.0.0.1", "Origin: https://attacker.example\r\n").await, "401");
    assert_eq!(send("127.0.0.1", "Origin: null\r\n").await, "401");
    assert_eq!(fixture.script.sent.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn pages_of_other_sites_are_permitted_by_configuration_only() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS {EXECUTE} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        )
    };
    let closed = Fixture::start();
    let response = closed.raw(preflight("https://app.example").as_bytes()).await.to_ascii_lowercase();
    assert!(!response.contains("access-control-allow-origin"), "{response}");
    let origins = vec!["https://app.example".to_owned()];
    let open = Fixture::start_with(&Settings { origins, ..Settings::default() });
    let response = open.raw(preflight("https://app.example").as_bytes()).await.to_ascii_lowercase();
    assert!(response.contains("access-control-allow-origin: https://app.example\r\n"), "{response}");
    let response = open.raw(preflight("https://other.example").as_bytes()).await.to_ascii_lowercase();
    assert!(!response.contains("access-control-allow-origin"), "{response}");
}

#[tokio::test]
async fn an_address_of_other_machines_needs_identities_and_one_in_use_is_named() {
    let script = Arc::new(Script::default());
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let anonymous = Settings { has_identity: false, ..Settings::default() };
    let refused = BridgeServer::bind(config(everywhere, &anonymous), host(&script, &anonymous)).err().unwrap();
    assert_eq!(refused.code, ErrorCode::InvalidConfiguration);
    let settings = Settings::default();
    assert!(BridgeServer::bind(config(everywhere, &settings), host(&script, &settings)).is_ok());
    let fixture = Fixture::start();
    let taken = BridgeServer::bind(config(fixture.addr, &settings), host(&script, &settings)).err().unwrap();
    assert!(taken.message.contains(&fixture.addr.to_string()) && taken.message.contains("GREENROOM_HTTP_ADDR"));
}

#[tokio::test]
async fn the_health_of_the_process_is_in_the_statuses_of_its_probes() {
    let unready = Health::Unready(greenroom_protocol::Cause::new(ErrorCode::StoreUnavailable, "away"));
    for (health, ping, ready, state) in [
        (Health::Starting, 204, 503, "starting"),
        (Health::Ready, 200, 200, "ready"),
        (unready, 503, 503, "unready"),
        (Health::Draining, 503, 503, "draining"),
    ] {
        let fixture = Fixture::start_with(&Settings { health, ..Settings::default() });
        assert_eq!(fixture.get("/ping").await.status, ping, "{state}");
        assert_eq!(fixture.get("/readyz").await.status, ready, "{state}");
        for path in ["/health", "/healthz"] {
            let response = fixture.get(path).await;
            assert_eq!((response.status, response.json()["state"].as_str()), (200, Some(state)), "{path}");
        }
    }
}
