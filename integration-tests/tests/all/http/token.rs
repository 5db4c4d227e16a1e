//! The token of a stream of events, which is a part of a URL: no line of the log has it, not even of the libraries at level
//! `trace`, and no other file of the process, however the URL is used.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::send_to;
use greenroom_integration_tests::terminal::CliHarness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{free_address, up};
use super::{INPUTS, WAIT_MAX, WORKFLOW, definitions};
use crate::secrets::files_with_key;

/// A literal of HPACK for the indexed name, without Huffman code.
fn literal(name: u8, value: &str) -> Result<Vec<u8>> {
    const PREFIX_MAX: usize = 127;
    let mut bytes = vec![name];
    match value.len().checked_sub(PREFIX_MAX) {
        None => bytes.push(u8::try_from(value.len())?),
        Some(mut rest) => {
            bytes.push(u8::try_from(PREFIX_MAX)?);
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128)? | 0x80);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest)?);
        }
    }
    bytes.extend_from_slice(value.as_bytes());
    Ok(bytes)
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(payload.len())?.to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    Ok([&head[..], payload].concat())
}

/// Sends a request over HTTP/2 whose path no server can read, and waits until the connection ends.
async fn send_unreadable_path(addr: SocketAddr, path: &str) -> Result<()> {
    // `:method: GET` and `:scheme: http` are entries of the static table, as are the names 1 and 4.
    let fields = [vec![0x82, 0x86], literal(1, "localhost")?, literal(4, path)?].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let bytes = [&preface[..], &frame(4, 0, 0, &[])?, &frame(1, 0x05, 1, &fields)?].concat();
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    let mut response = Vec::new();
    let _ = timeout(WAIT_MAX, stream.read_to_end(&mut response)).await?;
    ensure!(!response.is_empty(), "the server speaks HTTP/2");
    Ok(())
}

#[tokio::test]
async fn the_token_of_a_stream_is_in_no_log_and_in_no_other_file() -> Result<()> {
    let (mut terminal, addr) = (CliHarness::open()?, free_address()?);
    let (definitions, _folder) = definitions()?;
    terminal.set_variable("GREENROOM_DEFINITIONS", &definitions.dir().display().to_string());
    terminal.set_variable("GREENROOM_LOG", "trace");
    let running = up(&mut terminal, &addr).await?;
    let addr: SocketAddr = addr.parse()?;
    let ended = send_to(addr, &format!("POST /v1/workflows/{WORKFLOW}/run"), None, &[], INPUTS).await?;
    let run = ended.json()?["id"].as_str().with_context(|| format!("{ended:?}"))?.to_owned();
    let issued = send_to(addr, &format!("POST /v1/runs/{run}/events-token"), None, &[], "").await?.json()?;
    let (url, token) = (issued["url"].as_str().context("a URL")?, issued["token"].as_str().context("a token")?);
    let key: &[&str] = &["Authorization: ApiKey planted-key"];
    for (line, headers, status) in [
        (format!("GET {url}"), &[][..], 200),
        (format!("HEAD {url}"), &[], 200),
        (format!("GET {url}"), key, 400),
        (format!("GET {url}&after=x"), &[], 400),
        (format!("GET {url}&token={token}"), &[], 400),
        (format!("GET {url}A"), &[], 401),
        (format!("GET /v1/runs/run_other/events?token={token}"), &[], 401),
        (format!("GET /v1/runs/{run}?token={token}"), &[], 400),
        (format!("GET /nowhere?token={token}"), &[], 404),
        (format!("GET /nowhere/{token}"), &[], 404),
        (format!("POST {url}"), &[], 405),
        (format!("GET {url} {token}"), &[], 400),
    ] {
        let response = send_to(addr, &line, None, headers, "").await.with_context(|| line.clone())?;
        let masked = line.replace(token, "TOKEN");
        ensure!(response.status == status, "{masked}: {response:?}");
        ensure!(!response.text().contains(token), "{masked}: the response repeats the token");
    }
    send_unreadable_path(addr, &format!("{url} ")).await?;
    running.terminate()?;
    let output = running.wait().await?;
    ensure!(output.err.contains("TRACE") && output.err.contains("h2::"), "every line is written: {}", output.err.len());
    let mut files = Vec::new();
    files_with_key(terminal.folder(), token, &mut files);
    ensure!(files.is_empty(), "the token is in {files:?}");
    Ok(())
}
