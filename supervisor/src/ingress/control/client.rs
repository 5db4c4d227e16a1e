//! The client end of the control socket: a transport, and the upload of files. Each request
//! has a connection of its own, so a slow reply delays no other request. A request that the owner has not
//! accepted was not executed: its error is [`TransportError::Unreachable`] or a cause of the owner.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use greenroom_client::transport::Events;
use greenroom_client::{Transport, TransportError};
use greenroom_protocol::event::WatchedRun;
use greenroom_protocol::{ArtifactRef, Cause, Envelope, Metadata, Reply, RequestId, Status, UserId, Values};
use greenroom_registry::artifacts::ArtifactSource;
use tokio::net::UnixStream;

use super::super::frame::{self, ControlRequest, ControlResponse};
use super::CHUNK_BYTES;
use super::socket_file::resolve;
use crate::config::SettingsHash;

/// The process that owns a data directory and accepts requests.
#[derive(Debug, Clone)]
pub struct OwnerInfo {
    /// Its id.
    pub process: String,
    /// The hashes of its settings; `None` if it does not state them.
    pub settings: Option<SettingsHash>,
}

/// Sends requests to the owner of a data directory.
#[derive(Debug, Clone)]
pub struct ControlClient {
    path: PathBuf,
    user: UserId,
}

impl ControlClient {
    /// A client that authenticates as this user.
    #[must_use]
    pub fn new(path: &Path, user: UserId) -> Self {
        Self { path: path.to_owned(), user }
    }

    async fn connect(&self) -> Result<UnixStream, TransportError> {
        UnixStream::connect(resolve(&self.path)).await.map_err(|error| TransportError::Unreachable {
            address: self.path.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// Sends a request and waits until the owner accepts it.
    async fn submit(&self, request: &ControlRequest) -> Result<UnixStream, TransportError> {
        let mut stream = self.connect().await?;
        let written = frame::write(&mut stream, request).await;
        if let Err(error) = written.as_ref()
            && error.kind() == std::io::ErrorKind::InvalidData
        {
            return Err(TransportError::InvalidResponse { reason: error.to_string() });
        }
        // An owner that refuses may have closed the connection before the whole request was written.
        match frame::read(&mut stream).await {
            Ok(Some(ControlResponse::Accepted)) => Ok(stream),
            Ok(Some(ControlResponse::Refused { cause })) => Err(TransportError::Rejected(cause)),
            Ok(Some(other)) => Err(unexpected(&other)),
            Ok(None) | Err(_) => Err(TransportError::Unreachable {
                address: self.path.display().to_string(),
                reason: "the process ended before it accepted the request".to_owned(),
            }),
        }
    }

    async fn request(&self, request: &ControlRequest) -> Result<ControlResponse, TransportError> {
        read_response(&mut self.submit(request).await?).await
    }

    /// The process that owns the data directory and accepts requests.
    ///
    /// # Errors
    /// [`TransportError`] if no process does.
    pub async fn identify(&self) -> Result<OwnerInfo, TransportError> {
        match self.request(&ControlRequest::Identify).await? {
            ControlResponse::Owner { process, settings } => Ok(OwnerInfo { process: process.to_string(), settings }),
            ControlResponse::Refused { cause } => Err(TransportError::Rejected(cause)),
            other => Err(unexpected(&other)),
        }
    }

    /// Uploads a file. Its content is read once the owner has accepted the request.
    ///
    /// # Errors
    /// Those of the owner and of the content; a transport error if the owner cannot be reached.
    pub async fn store_artifact(
        &self,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, Cause> {
        let request = ControlRequest::StoreArtifact {
            user: self.user.clone(),
            name: name.to_owned(),
            media_type: media_type.to_owned(),
        };
        let mut stream = self.submit(&request).await?;
        send_file(&mut stream, content).await?;
        match read_response(&mut stream).await? {
            ControlResponse::ArtifactStored { artifact } => Ok(artifact),
            ControlResponse::Refused { cause } => Err(cause),
            other => Err(unexpected(&other).into()),
        }
    }
}

#[async_trait]
impl Transport for ControlClient {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let id = envelope.id.clone();
        let request = ControlRequest::Send { user: self.user.clone(), envelope: Box::new(envelope) };
        match self.request(&request).await {
            Ok(ControlResponse::Reply { reply }) => Ok(*reply),
            // A rejected request has a reply, whoever rejects it.
            Ok(ControlResponse::Refused { cause }) | Err(TransportError::Rejected(cause)) => Ok(rejection(id, cause)),
            Ok(other) => Err(unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, run: &WatchedRun, after: u64) -> Events {
        let client = self.clone();
        let request = ControlRequest::Watch { user: self.user.clone(), run: run.clone(), after };
        let opening = async move { client.submit(&request).await };
        let events = |opened: Result<UnixStream, TransportError>| match opened {
            Ok(stream) => stream::try_unfold(stream, |mut stream| async move {
                match read_response(&mut stream).await? {
                    ControlResponse::Event { event } => Ok(Some((*event, stream))),
                    ControlResponse::End => Ok(None),
                    ControlResponse::Refused { cause } => Err(TransportError::Rejected(cause)),
                    other => Err(unexpected(&other)),
                }
            })
            .boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        };
        stream::once(opening).flat_map(events).boxed()
    }
}

fn rejection(id: Option<RequestId>, cause: Cause) -> Reply {
    Reply {
        id: id.map(|id| id.to_string()).unwrap_or_default(),
        status: Status::from_cause(&cause),
        outputs: Values::new(),
        error: Some(cause),
        metadata: Metadata::default(),
    }
}

/// Sends a file in chunks. An owner that refuses it closes the connection before its end, and the response has the
/// cause; a lost connection has no response, which is an error of its own.
async fn send_file(stream: &mut UnixStream, mut content: ArtifactSource<'_>) -> Result<(), Cause> {
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        for part in chunk.chunks(CHUNK_BYTES) {
            if frame::write_raw(stream, part).await.is_err() {
                return Ok(());
            }
        }
    }
    let _ = frame::write_raw(stream, &[]).await;
    Ok(())
}

async fn read_response(stream: &mut UnixStream) -> Result<ControlResponse, TransportError> {
    frame::read(stream).await.map_err(transport_error)?.ok_or(TransportError::ConnectionLost)
}

fn transport_error(error: std::io::Error) -> TransportError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => TransportError::InvalidResponse { reason: error.to_string() },
        _ => TransportError::ConnectionLost,
    }
}

fn unexpected(response: &ControlResponse) -> TransportError {
    let kind = match response {
        ControlResponse::Accepted => "an acceptance",
        ControlResponse::Reply { .. } => "a reply",
        ControlResponse::Event { .. } => "an event",
        ControlResponse::End => "the end of a watch",
        ControlResponse::ArtifactStored { .. } => "an artifact",
        ControlResponse::Owner { .. } => "an owner",
        ControlResponse::Refused { .. } => "a rejection",
    };
    TransportError::InvalidResponse { reason: format!("unexpected response: {kind}") }
}
