//! The control socket: how a second process of the same user acts on the owner of the data
//! directory. The socket is for its owner alone (0600), and the peer's user id is checked besides.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_protocol::{Cause, ErrorCode};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::frame::{self, ControlRequest, ControlResponse, FILE_BYTES_MAX, FRAME_BYTES_MAX};
use super::local::LocalIngress;

pub mod client;

/// Connections that are served at one moment; a watch holds one for as long as its run.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a connection may say nothing before its question is complete.
const REQUEST_READ_MAX: Duration = Duration::from_secs(30);

/// The bound socket; dropping it removes the file.
pub struct ControlServer {
    listener: UnixListener,
    path: std::path::PathBuf,
}

impl ControlServer {
    /// Binds the socket. The caller owns the data directory, so a file that is there is a dead one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves connections until it is dropped; the connections end with it.
    ///
    /// # Errors
    /// Never by itself: a connection that cannot be accepted is logged, and the next one is awaited.
    pub async fn serve(self, front: LocalIngress) -> Result<(), String> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = futures::stream::FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (front, places) = (front.clone(), Arc::clone(&places));
                        open.push(async move {
                            let Ok(_place) = places.try_acquire() else { return };
                            serve_connection(stream, front).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(error.message = %error, "control connection not accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(()) = open.next(), if !open.is_empty() => {}
            }
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// True if the other end belongs to the user of this process.
fn is_same_user(stream: &UnixStream, own_uid: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own_uid)
}

async fn serve_connection(mut stream: UnixStream, front: LocalIngress) {
    // Whoever owns the other end of a socket pair made here is this very user.
    let own = UnixStream::pair().and_then(|(here, _)| here.peer_cred()).map(|peer| peer.uid());
    if !own.is_ok_and(|uid| is_same_user(&stream, uid)) {
        tracing::warn!("control connection of another user refused");
        let cause = Cause::new(ErrorCode::Unauthenticated, "the control socket belongs to another user");
        let _ = frame::write(&mut stream, &ControlResponse::Refused { cause }).await;
        return;
    }
    let ended = loop {
        let asked = tokio::time::timeout(REQUEST_READ_MAX, frame::read::<ControlRequest>(&mut stream)).await;
        let answered = match asked {
            Ok(Ok(Some(ask))) => handle_request(&mut stream, &front, ask).await,
            Ok(Ok(None)) | Err(_) => break Ok(()),
            Ok(Err(error)) => Err(error),
        };
        if let Err(error) = answered {
            break Err(error);
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error.message = %error, "control connection ended");
    }
    let _ = stream.shutdown().await;
}

async fn handle_request(stream: &mut UnixStream, front: &LocalIngress, ask: ControlRequest) -> std::io::Result<()> {
    let answer = match ask {
        ControlRequest::Send { user, envelope } => {
            let working = front.send(user, *envelope);
            match until_disconnected(stream, working).await {
                Some(reply) => ControlResponse::Reply { reply: Box::new(reply) },
                None => return Err(std::io::ErrorKind::ConnectionReset.into()),
            }
        }
        ControlRequest::Watch { user, run, after } => match front.watch(user, run, after).await {
            Ok(events) => return follow(stream, events).await,
            Err(cause) => ControlResponse::Refused { cause },
        },
        ControlRequest::StoreArtifact { name, media_type, bytes } => match take(stream, bytes).await? {
            Ok(bytes) => match front.store_artifact(bytes, &media_type, &name).await {
                Ok(artifact) => ControlResponse::Kept { artifact },
                Err(cause) => ControlResponse::Refused { cause },
            },
            Err(cause) => ControlResponse::Refused { cause },
        },
        ControlRequest::Admin(command) => match front.admin(command).await {
            Ok(report) => ControlResponse::Done { report },
            Err(cause) => ControlResponse::Refused { cause },
        },
    };
    frame::write(stream, &answer).await
}

/// Works until the other end goes away: who has left waits for nothing, and what they asked for is
/// dropped, which frees all that it holds.
async fn until_disconnected<T>(stream: &UnixStream, work: impl Future<Output = T>) -> Option<T> {
    let gone = async {
        let mut byte = [0];
        loop {
            if stream.readable().await.is_err() {
                return;
            }
            match stream.try_read(&mut byte) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // Nothing is sent while an answer is awaited: a byte is a fault, zero bytes the end.
                Ok(_) | Err(_) => return,
            }
        }
    };
    tokio::select! {
        done = work => Some(done),
        () = gone => None,
    }
}

async fn follow(stream: &mut UnixStream, mut events: greenroom_client::transport::Events) -> std::io::Result<()> {
    while let Some(Some(event)) = until_disconnected(stream, events.next()).await {
        match event {
            Ok(event) => frame::write(stream, &ControlResponse::Event { event: Box::new(event) }).await?,
            Err(error) => return frame::write(stream, &ControlResponse::Refused { cause: error.into() }).await,
        }
    }
    frame::write(stream, &ControlResponse::End).await
}

async fn take(stream: &mut UnixStream, bytes: u64) -> std::io::Result<Result<Vec<u8>, Cause>> {
    if bytes > FILE_BYTES_MAX {
        let message = format!("the file has {bytes} bytes, at most {FILE_BYTES_MAX} are taken");
        return Ok(Err(Cause::new(ErrorCode::PayloadTooLarge, message)));
    }
    let mut whole = Vec::new();
    while (whole.len() as u64) < bytes {
        match frame::read_raw(stream).await? {
            Some(part) if !part.is_empty() => whole.extend_from_slice(&part),
            Some(_) | None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(Ok(whole))
}

/// Bytes of one part of a file on the socket.
pub(crate) const CHUNK_BYTES: usize = FRAME_BYTES_MAX / 4;
