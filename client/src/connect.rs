//! `Client::connect`: the transport is chosen by the scheme of the address.

use crate::client::Client;
use crate::error::Error;

impl Client {
    /// Connects to pods: over HTTP through a bridge (`http://HOST:8000`, `https://HOST`), or over NATS
    /// (`nats://HOST:4222`, or several servers with commas between them), each with its default options. Over HTTP, nothing
    /// is sent before the first request.
    ///
    /// # Errors
    /// [`Error::Transport`] if no server of NATS can be reached; [`Error::Refused`] if it refuses the client, the address is
    /// none, or names a transport whose feature is not enabled.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        if address.starts_with("http://") || address.starts_with("https://") {
            return over_http(address);
        }
        over_nats(address).await
    }
}

#[cfg(feature = "http")]
fn over_http(address: &str) -> Result<Client, Error> {
    Client::connect_http(address, crate::http::HttpOptions::default())
}

#[cfg(not(feature = "http"))]
fn over_http(address: &str) -> Result<Client, Error> {
    Err(without("http", address))
}

#[cfg(feature = "nats")]
async fn over_nats(servers: &str) -> Result<Client, Error> {
    Client::connect_with(servers, crate::nats::ConnectOptions::default()).await
}

#[cfg(not(feature = "nats"))]
async fn over_nats(servers: &str) -> Result<Client, Error> {
    Err(without("nats", servers))
}

#[cfg(not(all(feature = "http", feature = "nats")))]
fn without(feature: &str, address: &str) -> Error {
    let message = format!("`{address}` needs the feature `{feature}` of the client");
    Error::Refused(greenroom_protocol::Cause::new(greenroom_protocol::ErrorCode::InvalidRequest, message))
}
