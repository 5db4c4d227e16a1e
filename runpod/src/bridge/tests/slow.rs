//! Callers that send as slowly as they can: each part of a request has a time of its own. The clock is paused, and goes on
//! with the bytes of the caller.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::interval;

use super::fixture::Fixture;

/// More seconds than the bridge waits for anything.
const SECONDS_MAX: u32 = 1_000;

/// Sends the beginning of a request, and then one byte in a second for as long as the bridge waits. Returns the response, and
/// the seconds until the end of the connection.
async fn drip(fixture: &Fixture, beginning: &str) -> (String, u32) {
    let mut stream = fixture.connect().await;
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (mut response, mut seconds) = (Vec::new(), 0);
    let mut ticks = interval(Duration::from_secs(1));
    let dripping = async {
        while seconds < SECONDS_MAX {
            ticks.tick().await;
            seconds += 1;
            if writer.write_all(b"1").await.is_err() {
                // The bridge has ended the connection, which the reader sees.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = reader.read_to_end(&mut response) => {}
        () = dripping => panic!("the bridge waits longer than {SECONDS_MAX} seconds"),
    }
    (String::from_utf8_lossy(&response).into_owned(), seconds)
}

#[tokio::test(start_paused = true)]
async fn headers_that_arrive_slowly_end_the_connection() {
    let fixture = Fixture::start();
    let (response, seconds) = drip(&fixture, "GET /ping HTTP/1.1\r\nHost: h\r\nx: ").await;
    assert!(!response.contains(" 200 "), "{response}");
    assert!((25..=35).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_slowly_is_refused_and_not_sent() {
    let fixture = Fixture::start();
    let beginning = "POST /v1/agents/a/execute HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\
                     Content-Type: application/json\r\nContent-Length: 900\r\n\r\n";
    let (response, seconds) = drip(&fixture, beginning).await;
    assert!(response.starts_with("HTTP/1.1 408 ") && response.contains("application/problem+json"), "{response}");
    assert!((55..=65).contains(&seconds), "{seconds}");
    assert!(fixture.script.sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_arrives_slowly_is_refused_and_not_stored() {
    let fixture = Fixture::start();
    let beginning = "POST /v1/artifacts?name=a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 900\r\n\r\n";
    let (response, seconds) = drip(&fixture, beginning).await;
    assert!(response.starts_with("HTTP/1.1 504 "), "{response}");
    assert!((595..=605).contains(&seconds), "{seconds}");
    assert!(fixture.script.uploaded.lock().unwrap().is_empty());
}
