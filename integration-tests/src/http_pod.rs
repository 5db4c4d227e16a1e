//! A pod that serves HTTP on a free port, users of two tenants with keys, and a client that writes the bytes of requests
//! itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use greenroom_client::http::HttpOptions;
use greenroom_client::{Client, Credential};
use greenroom_protocol::Json;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, HttpConfig};
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::test_pod::{StoreKind, test_config};

/// The key of the administrator of the tenant `acme`.
pub const ADMIN_KEY: &str = "planted-key-of-admin";
/// The key of a user of that tenant without a role.
pub const GUEST_KEY: &str = "planted-key-of-guest";
/// The key of the administrator of another tenant.
pub const OTHER_KEY: &str = "planted-key-of-other";
/// Bound of one response.
const RESPONSE_WAIT_MAX: Duration = Duration::from_secs(60);

/// A pod, its address and its folder.
pub struct HttpPod {
    /// The pod.
    pub pod: Pod,
    /// Where it serves HTTP.
    pub addr: SocketAddr,
    /// Its folder, which is removed on drop.
    pub folder: TempDir,
}

/// A response over HTTP/1.1.
#[derive(Debug)]
pub struct HttpResponse {
    /// Its status.
    pub status: u16,
    /// Its status line and headers, in lower case.
    pub head: String,
    /// Its content.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Its content as JSON.
    ///
    /// # Errors
    /// If it is something else; the error contains it.
    pub fn json(&self) -> anyhow::Result<Json> {
        serde_json::from_slice(&self.body).with_context(|| format!("{self:?} is not JSON"))
    }

    /// Its content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header, whose name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl HttpPod {
    /// Starts a pod with these definitions.
    ///
    /// # Errors
    /// If the pod cannot be assembled, or the address cannot be bound.
    pub async fn start(definitions: Option<&Path>) -> anyhow::Result<Self> {
        Self::start_with(definitions, |_| {}).await
    }

    /// As [`HttpPod::start`], with other settings.
    ///
    /// # Errors
    /// As [`HttpPod::start`].
    pub async fn start_with(definitions: Option<&Path>, change: impl FnOnce(&mut Config)) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut config = test_config(folder.path(), StoreKind::Memory, definitions)?;
        let user = |name: &str, tenant: &str, roles: &[&str], key: &str| json!({ "name": name, "tenant": tenant, "roles": roles, "api_key": key, "permissions": { "pii_access": true } });
        config.users = serde_json::from_value(json!({ "users": [
            user("admin", "acme", &["admin"], ADMIN_KEY),
            user("guest", "acme", &[], GUEST_KEY),
            user("other", "globex", &["admin"], OTHER_KEY),
        ] }))?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (cors_origins, connections_max, upload_bytes_max) = (Vec::new(), 1_024, 8 * 1024 * 1024);
        config.http =
            Some(HttpConfig { addr, allows_development_user: true, cors_origins, connections_max, upload_bytes_max });
        change(&mut config);
        let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default())
            .await
            .context("the pod cannot be assembled")?;
        let addr = pod.serve_http()?.context("HTTP is on")?;
        Ok(Self { pod, addr, folder })
    }

    /// A client with this key.
    ///
    /// # Errors
    /// Never: the address is one.
    pub fn client(&self, key: &str) -> anyhow::Result<Client> {
        let options = HttpOptions::default().credential(Credential::ApiKey(key.to_owned()));
        Ok(Client::connect_http(&format!("http://{}", self.addr), options)?)
    }

    /// Sends one request with this key, and these further lines of headers.
    ///
    /// # Errors
    /// If no response arrives in time.
    pub async fn send(
        &self,
        line: &str,
        key: Option<&str>,
        headers: &[&str],
        body: &str,
    ) -> anyhow::Result<HttpResponse> {
        send_to(self.addr, line, key, headers, body).await
    }
}

/// Sends one request with this key, and these further lines of headers, to an address.
///
/// # Errors
/// If no response arrives in time.
pub async fn send_to(
    addr: SocketAddr,
    line: &str,
    key: Option<&str>,
    headers: &[&str],
    body: &str,
) -> anyhow::Result<HttpResponse> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n");
    if let Some(key) = key {
        head.push_str(&format!("Authorization: ApiKey {key}\r\n"));
    }
    for header in headers {
        head.push_str(&format!("{header}\r\n"));
    }
    if !body.is_empty() {
        if !headers.iter().any(|header| header.starts_with("Content-Type")) {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    exchange(addr, format!("{head}\r\n{body}").as_bytes()).await
}

/// Sends these bytes, and reads a response until the connection ends.
///
/// # Errors
/// If no response arrives in time.
pub async fn exchange(addr: SocketAddr, bytes: &[u8]) -> anyhow::Result<HttpResponse> {
    let mut stream = TcpStream::connect(addr).await?;
    // A request that is refused by its headers is not read to its end.
    let _ = stream.write_all(bytes).await;
    let mut response = Vec::new();
    let reading = stream.read_to_end(&mut response);
    let _ = tokio::time::timeout(RESPONSE_WAIT_MAX, reading).await.context("the connection does not end")?;
    parse(&response)
}

fn parse(response: &[u8]) -> anyhow::Result<HttpResponse> {
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a response has headers")?;
    let (head, body) = response.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let body = body.get(4..).unwrap_or_default();
    let body = if head.contains("\r\ntransfer-encoding: chunked") { joined_chunks(body)? } else { body.to_vec() };
    Ok(HttpResponse { status, head, body })
}

/// The content of a body in chunks.
fn joined_chunks(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    while let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let length = std::str::from_utf8(rest.get(..end).unwrap_or_default())?;
        let length = usize::from_str_radix(length, 16)?;
        let chunk = rest.get(end + 2..end + 2 + length).context("a whole chunk")?;
        content.extend_from_slice(chunk);
        if length == 0 {
            break;
        }
        rest = rest.get(end + 4 + length..).unwrap_or_default();
    }
    Ok(content)
}
