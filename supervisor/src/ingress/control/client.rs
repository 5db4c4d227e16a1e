//! The client end of the control socket: a transport, and the upload of files. A request in flight has a connection of
//! its own, so a slow reply delays no other request; the connection serves the next request after its response. A
//! request that the owner has not accepted was not executed: it is sent again on a new connection if the old one had
//! been closed, and its error is [`TransportError::Unreachable`] or a cause of the owner.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use greenroom_client::transport::Events;
use greenroom_client::{Transport, TransportError};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::{
    ArtifactRef, Cause, Envelope, Metadata, Reply, RequestId, Status, UserId, Values, WrittenVersion,
};
use greenroom_registry::artifacts::ArtifactSource;
use tokio::net::UnixStream;

use super::super::frame::{self, Connection, ControlRequest, ControlResponse};
use super::CHUNK_BYTES;
use super::socket_file::resolve;
use crate::config::SettingsHash;

/// Connections that are kept for later requests; the server closes those that are idle for long.
const IDLE_MAX: usize = 64;

/// The process that owns a data directory and accepts requests.
#[derive(Debug, Clone)]
pub struct OwnerInfo {
    /// Its id.
    pub process: String,
    /// The hashes of its settings; `None` if it does not state them.
    pub settings: Option<SettingsHash>,
}

/// Sends requests to the owner of a data directory. Cheap to clone; the clones share the idle connections.
#[derive(Debug, Clone)]
pub struct ControlClient {
    path: PathBuf,
    user: UserId,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl ControlClient {
    /// A client that authenticates as this user.
    #[must_use]
    pub fn new(path: &Path, user: UserId) -> Self {
        Self { path: path.to_owned(), user, idle: Arc::default() }
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        let connected = UnixStream::connect(resolve(&self.path)).await;
        connected.map(Connection::new).map_err(|error| self.unreachable(error.to_string()))
    }

    fn unreachable(&self, reason: String) -> TransportError {
        TransportError::Unreachable { address: self.path.display().to_string(), reason }
    }

    /// Locks the idle connections. A poisoned lock is still consistent: each change is one step.
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits until the owner accepts it.
    async fn submit(&self, request: &ControlRequest) -> Result<Connection, TransportError> {
        loop {
            let idle = self.idle().pop();
            let is_new = idle.is_none();
            let mut stream = match idle {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            let written = frame::write(&mut stream, request).await;
            if let Err(error) = written.as_ref()
                && error.kind() == std::io::ErrorKind::InvalidData
            {
                return Err(TransportError::InvalidResponse { reason: error.to_string() });
            }
            // An owner that refuses may have closed the connection before the whole request was written.
            match frame::read(&mut stream).await {
                Ok(Some(ControlResponse::Accepted)) => return Ok(stream),
                Ok(Some(ControlResponse::Refused { cause })) => return Err(TransportError::Rejected(cause)),
                Ok(Some(other)) => return Err(unexpected(&other)),
                Ok(None) | Err(_) if is_new => {
                    return Err(self.unreachable("the process ended before it accepted the request".to_owned()));
                }
                // The server has closed an idle connection, or has ended.
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// Sends a request that has one response. Its connection is kept for the next request.
    async fn request(&self, request: &ControlRequest) -> Result<ControlResponse, TransportError> {
        let mut stream = self.submit(request).await?;
        let response = read_response(&mut stream).await?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(stream);
        }
        Ok(response)
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

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        let client = self.clone();
        let request = ControlRequest::Watch { user: self.user.clone(), run: run.clone(), after };
        let opening = async move { client.submit(&request).await };
        let events = |opened: Result<Connection, TransportError>| match opened {
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
        protocol_version: WrittenVersion::OWN,
    }
}

/// Sends a file in chunks. An owner that refuses it closes the connection before its end, and the response has the
/// cause; a lost connection has no response, which is an error of its own.
async fn send_file(stream: &mut Connection, mut content: ArtifactSource<'_>) -> Result<(), Cause> {
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

async fn read_response(stream: &mut Connection) -> Result<ControlResponse, TransportError> {
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

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Answers `Identify` on each connection of a socket, with the number of the connection as the process; closes each
    /// connection after `responses_max` responses.
    async fn serve(listener: UnixListener, responses_max: usize) {
        for process in 1.. {
            let mut stream = Connection::new(listener.accept().await.unwrap().0);
            for _ in 0..responses_max {
                let request: Option<ControlRequest> = frame::read(&mut stream).await.unwrap();
                assert!(matches!(request, Some(ControlRequest::Identify)), "{request:?}");
                frame::write(&mut stream, &ControlResponse::Accepted).await.unwrap();
                frame::write(&mut stream, &ControlResponse::Owner { process, settings: None }).await.unwrap();
            }
        }
    }

    /// The connections that serve three requests, one after the other.
    async fn connections_used(responses_max: usize) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = serve(UnixListener::bind(&path).unwrap(), responses_max);
        let client = ControlClient::new(&path, UserId::new("admin").unwrap());
        let requests = async {
            let mut used = Vec::new();
            for _ in 0..3 {
                used.push(client.clone().identify().await.unwrap().process);
            }
            used
        };
        tokio::select! {
            used = requests => used,
            () = server => unreachable!("it serves until it is dropped"),
        }
    }

    #[tokio::test]
    async fn a_connection_serves_one_request_after_the_other() {
        assert_eq!(connections_used(usize::MAX).await, ["1", "1", "1"]);
    }

    #[tokio::test]
    async fn a_request_is_sent_again_if_its_idle_connection_was_closed() {
        assert_eq!(connections_used(1).await, ["1", "2", "3"]);
        assert_eq!(connections_used(2).await, ["1", "1", "2"]);
    }
}
