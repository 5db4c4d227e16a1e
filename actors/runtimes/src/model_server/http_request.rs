//! Reads one HTTP request from a socket.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Maximum size of a request in bytes.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request as the server received it.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Its index among all requests of the server, from 0.
    pub number: usize,
    /// The request line.
    pub line: String,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The JSON body; null without one.
    pub body: Value,
    /// The bytes of the body, as they were signed.
    pub content: Vec<u8>,
}

impl RecordedRequest {
    /// The idempotency key: requests with the same key are one effect.
    #[must_use]
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// Reads a request with a JSON body or none; `None` if it is malformed or the client disconnects. The caller numbers it.
pub(super) async fn read_request(stream: &mut TcpStream) -> Option<RecordedRequest> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    let (line, headers, body_at) = loop {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..at)?).into_owned();
            break (head.split("\r\n").next()?.to_owned(), headers_of(&head), at + 4);
        }
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
    };
    // A `GET` has no body.
    let length: usize = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    if length > REQUEST_BYTES_MAX {
        return None;
    }
    while bytes.len() < body_at + length {
        let count = stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(chunk.get(..count)?);
    }
    let content = bytes.get(body_at..body_at + length)?.to_vec();
    let body = if content.is_empty() { Value::Null } else { serde_json::from_slice(&content).ok()? };
    Some(RecordedRequest { number: 0, line, headers, body, content })
}

fn headers_of(head: &str) -> BTreeMap<String, String> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect()
}
