//! `greenroom healthcheck`: succeeds if the process of this container serves HTTP. An image needs no other program for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::HealthcheckArgs;
use super::output::Output;
use crate::config::Config;

/// Longest time of the check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the response that are read: its status line.
const STATUS_LINE_BYTES: usize = 15;

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] if there is no address; [`ErrorCode::Interrupted`] if the process does not respond with
/// success.
pub async fn healthcheck(config: &Config, arguments: &HealthcheckArgs, output: Output) -> Result<u8, Cause> {
    let Some(addr) = arguments.addr.or(config.metrics) else {
        let message = "metrics.addr is off, and no --addr names another server to check";
        return Err(Cause::new(ErrorCode::InvalidConfiguration, message));
    };
    let addr = reachable(addr);
    let unhealthy = |reason: String| Cause::new(ErrorCode::Interrupted, format!("http://{addr}: {reason}"));
    let checked = timeout(CHECK_TIMEOUT, status(addr, &arguments.path)).await;
    let checked = checked.map_err(|_elapsed| unhealthy("it did not respond in time".to_owned()))?;
    let status = checked.map_err(|error| unhealthy(error.to_string()))?;
    // 204 is a bridge that starts.
    if !matches!(status.as_str(), "200" | "204") {
        return Err(unhealthy(format!("it responded with {status:?}")));
    }
    output.document(&serde_json::json!({ "healthy": true, "status": status }), || "healthy".to_owned());
    Ok(0)
}

/// The address of a server that listens on every address.
fn reachable(addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() { SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), addr.port()) } else { addr }
}

/// The status of a response, such as `200`.
async fn status(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    (&mut stream).take(STATUS_LINE_BYTES as u64).read_to_end(&mut line).await?;
    let line = String::from_utf8_lossy(&line).into_owned();
    Ok(line.split(' ').nth(1).unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{SocketAddr, reachable};

    #[test]
    fn a_server_on_every_address_is_checked_on_the_loopback() {
        let addr: SocketAddr = "0.0.0.0:9464".parse().unwrap();
        assert_eq!(reachable(addr).to_string(), "127.0.0.1:9464");
        let addr: SocketAddr = "10.0.0.7:80".parse().unwrap();
        assert_eq!(reachable(addr), addr);
    }
}
