//! Callers that send as slowly as they can, or read nothing: each part of a request has a time of its own, and so has a
//! reader. The clock is paused, and goes on with the bytes of the caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use greenroom_client::Observation;
use greenroom_protocol::event::RunEventKind;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::{FrameId, StepId, Values};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, interval, timeout};

use super::fixture::{Fixture, Flood, WAIT_MAX, event, reply};

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

/// Bytes of each text of a run, and of what a bridge and the system hold at most for a reader that reads nothing. The system
/// gives a connection of this machine up to 4 MiB for what was sent.
const TEXT_BYTES: usize = 16 * 1024;
const STORED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The smallest buffer of a socket.
const SOCKET_BYTES: u32 = 4 * 1024;

fn text() -> Observation {
    let step = StepKey { step: StepId::new("first").unwrap(), index: None };
    Observation::Text { id: FrameId::default(), step, text: "x".repeat(TEXT_BYTES) }
}

/// Requests the events of a run, and reads none.
async fn open_and_read_nothing(fixture: &Fixture) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
    let mut stream = socket.connect(fixture.addr).await.unwrap();
    stream.write_all(b"GET /v1/runs/run_1/events HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    stream
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_reads_nothing_is_cut_off_in_time_with_few_bytes_and_delays_no_other() {
    let fixture = Fixture::start();
    let (count, (end, is_ended)) = (Arc::new(AtomicU64::new(0)), oneshot::channel());
    *fixture.script.flood.lock().unwrap() = Some(Flood { text: text(), count: Arc::clone(&count), end });
    let started_at = Instant::now();
    let reader = open_and_read_nothing(&fixture).await;
    let flooded = async {
        while count.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
    };
    timeout(WAIT_MAX, flooded).await.unwrap();
    // Another reader of the same run has all events meanwhile.
    let last = event(1, RunEventKind::RunEnded { reply: Box::new(reply(Values::new(), None)) });
    fixture.script.watches.lock().unwrap().push_back(vec![Ok(last)]);
    let other = fixture.get("/v1/runs/run_1/events").await;
    assert!(other.status == 200 && other.body.contains("event: run_ended"), "{other:?}");
    // The stream of the run is dropped with the connection.
    assert!(timeout(WAIT_MAX, is_ended).await.unwrap().is_err());
    assert!((25..=40).contains(&started_at.elapsed().as_secs()), "{:?}", started_at.elapsed());
    let bytes = count.load(Ordering::Relaxed) * TEXT_BYTES as u64;
    assert!((1..STORED_BYTES_MAX).contains(&bytes), "{bytes} bytes were read from the run");
    let metrics = fixture.get("/metrics").await.body;
    assert!(metrics.contains("\nhttp_connections_stalled_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nhttp_streams_open 0\n"), "{metrics}");
    drop(reader);
}
