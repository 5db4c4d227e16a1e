//! What every handler of the bridge shares: the client, the hooks of the process that has the bridge, and the bounds.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use greenroom_client::Client;
use greenroom_protocol::{Cause, Clock, Credential, ErrorCode};
use tokio::sync::{Semaphore, watch};

use super::counters::Counters;
use super::open_streams::OpenStreams;
use super::token::TokenKey;

/// Bytes of all bodies that are in memory at one moment, in units of [`BODY_UNIT_BYTES`].
const BODY_UNITS_MAX: usize = 4_096;
/// The unit in which the memory of bodies is counted. A body that is not larger is not counted.
pub(super) const BODY_UNIT_BYTES: usize = 64 * 1024;

/// Whether the process behind the bridge takes requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Health {
    /// Not yet: it starts.
    Starting,
    /// It does.
    Ready,
    /// It serves, and something that it needs is missing.
    Unready(Cause),
    /// No longer: it ends once the requests under way have their replies.
    Draining,
}

/// What the process that has the bridge provides.
#[derive(Clone)]
pub struct Host {
    /// Sends the requests, without a credential of its own: each request has that of its caller, or none.
    pub client: Client,
    /// The time, for the tokens of event streams.
    pub clock: Arc<dyn Clock>,
    /// Whether the process takes requests.
    pub health: Arc<dyn Fn() -> Health + Send + Sync>,
    /// Further metrics in the text format of Prometheus; `None` if they are not for everyone who can connect.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// The settings of a bridge.
pub struct BridgeConfig {
    /// The address to listen on; port 0 is a free one.
    pub addr: SocketAddr,
    /// True if callers have to authenticate. Without it, the bridge listens on loopback addresses only, and accepts
    /// requests of this machine's own pages and programs.
    pub has_identity: bool,
    /// The origins whose pages may use the bridge, such as `https://app.example`; none by default.
    pub cors_origins: Vec<String>,
    /// Connections that are open at one moment; further ones are closed at once.
    pub connections_max: usize,
    /// Bytes of an artifact that is uploaded.
    pub upload_bytes_max: usize,
    /// The key of the tokens of event streams.
    pub tokens: TokenKey,
}

/// The bridge as its handlers use it.
pub(crate) struct Bridge {
    pub(super) host: Host,
    pub(super) tokens: TokenKey,
    pub(super) counters: Counters,
    pub(super) streams: OpenStreams,
    pub(super) has_identity: bool,
    pub(super) origins: Vec<String>,
    pub(super) upload_bytes_max: usize,
    pub(super) body_memory: Arc<Semaphore>,
    /// The document of the API, as JSON.
    pub(super) openapi: Bytes,
    draining: watch::Sender<bool>,
}

impl Bridge {
    /// The bridge with this document of its API, and these routes to count.
    pub(super) fn new(config: BridgeConfig, host: Host, openapi: Bytes, paths: &[&'static str]) -> Self {
        let BridgeConfig { has_identity, cors_origins, upload_bytes_max, tokens, .. } = config;
        Self {
            host,
            tokens,
            counters: Counters::new(paths),
            streams: OpenStreams::default(),
            has_identity,
            origins: cors_origins,
            upload_bytes_max,
            body_memory: Arc::new(Semaphore::new(BODY_UNITS_MAX)),
            openapi,
            draining: watch::channel(false).0,
        }
    }

    /// A client with this credential, for one request.
    pub(super) fn client(&self, credential: Option<Credential>) -> Client {
        let client = self.host.client.clone();
        match credential {
            Some(credential) => client.with_credential(credential),
            None => client,
        }
    }

    /// Ends the streams of events whose readers read nothing. They cannot be sent the reason.
    pub(super) fn end_stalled_streams(&self) {
        let count = self.streams.end_stalled();
        if count > 0 {
            self.counters.count_stalled_streams(count);
            tracing::info!(error.code = %ErrorCode::TimedOut, http.streams = count, "readers of events read nothing, streams end");
        }
    }

    /// Ends the streams of events, so that their readers connect elsewhere.
    pub(super) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Notifies of the drain.
    pub(super) fn watch_draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}
