//! The control socket, over which a second process of the same user sends requests to the owner of the
//! data directory. Only the user may open the socket (0600), and the peer's user id is checked too.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_registry::artifacts::ArtifactSource;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::socket_file::SocketFile;
use super::frame::{self, Connection, ControlRequest, ControlResponse};
use super::local::LocalIngress;
use crate::pipeline::Served;

pub mod client;
pub mod socket_file;

/// Connections that are served concurrently; a watch uses one until its run ends.
const CONNECTIONS_MAX: usize = 1_024;
/// Longest wait for a complete request on an open connection, and for the next chunk of a file.
const REQUEST_READ_MAX: Duration = Duration::from_secs(30);
/// Delay after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// When a client may retry after its connection was refused for the number of connections.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The bound socket; dropping it removes the file.
pub struct ControlServer {
    listener: UnixListener,
    /// The user of this process.
    own_uid: u32,
    _file: SocketFile,
}

impl ControlServer {
    /// Binds the socket; if its path is too long for one, `path` becomes a link to a socket in `runtime_dir`. The file
    /// of a dead process is replaced.
    ///
    /// # Errors
    /// Those of the operating system; [`std::io::ErrorKind::AddrInUse`] if a living process listens on it.
    pub async fn bind(path: &Path, runtime_dir: &Path) -> std::io::Result<Self> {
        let (listener, file) = SocketFile::bind(path, runtime_dir).await?;
        // The peer of a socket pair that is created here runs as this user.
        let own_uid = UnixStream::pair()?.0.peer_cred()?.uid();
        Ok(Self { listener, own_uid, _file: file })
    }

    /// Serves connections until it is dropped, which closes them. Each is a task of its own, so that requests are
    /// processed in parallel and a panic ends its own connection, and no other.
    ///
    /// # Errors
    /// None: an error of one connection is logged, and the next one is awaited.
    pub async fn serve(&self, ingress: LocalIngress) -> Result<(), String> {
        let capacity = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let is_own = stream.peer_cred().is_ok_and(|peer| peer.uid() == self.own_uid);
                        connections.spawn(serve_bounded(stream, is_own, ingress.clone(), Arc::clone(&capacity)));
                    }
                    Err(error) => {
                        tracing::warn!(error.message = %error, "cannot accept control connection");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
                Some(served) = connections.join_next() => {
                    if served.is_err() {
                        tracing::error!("control connection panicked");
                    }
                }
            }
        }
    }
}

async fn serve_bounded(stream: UnixStream, is_own: bool, ingress: LocalIngress, capacity: Arc<Semaphore>) {
    let mut stream = Connection::new(stream);
    if !is_own {
        let cause = Cause::new(ErrorCode::Unauthenticated, "the control socket belongs to another user");
        return refuse(&mut stream, cause).await;
    }
    match capacity.try_acquire() {
        Ok(_permit) => serve_connection(stream, ingress).await,
        Err(_) => {
            let message = format!("the control socket is at its limit of {CONNECTIONS_MAX} connections");
            let cause = Cause::new(ErrorCode::Overloaded, message).with_retry_after(OVERLOADED_RETRY_AFTER);
            refuse(&mut stream, cause).await;
        }
    }
}

/// Refuses a connection, whatever it would request.
async fn refuse(stream: &mut Connection, cause: Cause) {
    tracing::warn!(error.code = %cause.code, error.message = cause.message, "control connection refused");
    // A peer that has disconnected needs no response.
    let _ = frame::write(stream, &ControlResponse::Refused { cause }).await;
}

async fn serve_connection(mut stream: Connection, ingress: LocalIngress) {
    let outcome = loop {
        let request = tokio::time::timeout(REQUEST_READ_MAX, frame::read_request(&mut stream)).await;
        let handled = match request {
            Ok(Ok(Some(request))) => handle_request(&mut stream, &ingress, request).await,
            Ok(Ok(None)) | Err(_) => break Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                let message = format!("this is no request of the control socket: {error}");
                return refuse(&mut stream, Cause::new(ErrorCode::InvalidRequest, message)).await;
            }
            Ok(Err(error)) => Err(error),
        };
        if let Err(error) = handled {
            break Err(error);
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error.message = %error, "control connection ended");
    }
    let _ = stream.shutdown().await;
}

/// Accepts a request and writes its response. A request is accepted before a drain begins, or not at all; the
/// drain waits until the response is written.
async fn handle_request(
    stream: &mut Connection,
    ingress: &LocalIngress,
    request: ControlRequest,
) -> std::io::Result<()> {
    let awaited = match ingress.pipeline.admission.await_response() {
        Ok(ticket) => ticket,
        Err(cause) => return frame::write(stream, &ControlResponse::Refused { cause }).await,
    };
    frame::write(stream, &ControlResponse::Accepted).await?;
    let response = match request {
        ControlRequest::Send { user, envelope } => {
            let serving = ingress.serve(user, *envelope, None);
            let Some(Served { reply, ticket }) = until_disconnected(stream, serving).await else {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            };
            // The reply is not in memory beside its frame while that is written.
            let encoded = frame::encode(&ControlResponse::Reply { reply: Box::new(reply) })?;
            let written = frame::write_encoded(stream, encoded).await;
            drop(ticket);
            return written;
        }
        ControlRequest::Watch { user, run, after } => match ingress.watch(user, run, after).await {
            Ok(events) => {
                // A watch lasts as long as its run, which a drain does not wait for.
                drop(awaited);
                return send_events(stream, events).await;
            }
            Err(cause) => ControlResponse::Refused { cause },
        },
        ControlRequest::StoreArtifact { user, name, media_type } => {
            let stored = ingress.store_artifact_stream(&user, upload_chunks(stream), &media_type, &name).await;
            match stored {
                Ok(artifact) => ControlResponse::ArtifactStored { artifact },
                Err(cause) => {
                    // The rest of the file is not read, so the connection cannot carry another request.
                    frame::write(stream, &ControlResponse::Refused { cause }).await?;
                    return Err(std::io::ErrorKind::ConnectionAborted.into());
                }
            }
        }
        ControlRequest::Identify => {
            let settings = Some(ingress.settings_hash.load_full().as_ref().clone());
            ControlResponse::Owner { process: std::process::id(), settings }
        }
    };
    frame::write(stream, &response).await
}

/// Runs `work` until the peer disconnects. The work is dropped then, which releases all its
/// resources: its result has no receiver.
async fn until_disconnected<T>(stream: &Connection, work: impl Future<Output = T>) -> Option<T> {
    let disconnected = async {
        let mut byte = [0];
        // The peer sends nothing while it awaits a response: a byte is a fault, zero bytes are the end.
        if !stream.buffer().is_empty() {
            return;
        }
        let stream = stream.get_ref();
        loop {
            if stream.readable().await.is_err() {
                return;
            }
            match stream.try_read(&mut byte) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        result = work => Some(result),
        () = disconnected => None,
    }
}

async fn send_events(stream: &mut Connection, mut events: greenroom_client::transport::Events) -> std::io::Result<()> {
    while let Some(Some(event)) = until_disconnected(stream, events.next()).await {
        match event {
            Ok(event) => frame::write(stream, &ControlResponse::Event { event: Box::new(event) }).await?,
            Err(error) => return frame::write(stream, &ControlResponse::Refused { cause: error.into() }).await,
        }
    }
    frame::write(stream, &ControlResponse::End).await
}

/// The file that the peer sends after its request.
fn upload_chunks(connection: &mut Connection) -> ArtifactSource<'_> {
    futures::stream::try_unfold(connection, read_chunk).boxed()
}

/// Reads the next chunk of a file; `None` after the last one.
async fn read_chunk(connection: &mut Connection) -> Result<Option<(Bytes, &mut Connection)>, Cause> {
    let interrupted = |reason: String| Cause::new(ErrorCode::Interrupted, format!("the file did not arrive: {reason}"));
    match tokio::time::timeout(REQUEST_READ_MAX, frame::read_raw(connection)).await {
        Ok(Ok(Some(chunk))) if chunk.is_empty() => Ok(None),
        Ok(Ok(Some(chunk))) => Ok(Some((chunk.into(), connection))),
        Ok(Ok(None)) => Err(interrupted("the connection ended before it".to_owned())),
        Ok(Err(error)) => Err(interrupted(error.to_string())),
        Err(_) => Err(interrupted(format!("its next part did not follow within {REQUEST_READ_MAX:?}"))),
    }
}

/// Bytes of one chunk of a file on the socket.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;
