//! The other end of the control socket: a transport for the client, and the owner's chores. Each
//! request has a connection of its own, so a slow answer holds up nobody.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use greenroom_client::transport::Events;
use greenroom_client::{Transport, TransportError};
use greenroom_protocol::{ArtifactRef, Cause, Envelope, Json, Reply, RunId, UserId};
use tokio::net::UnixStream;

use super::super::frame::{self, Answer, Ask, Chore};
use super::PART_BYTES;

/// Speaks with the owner of a data directory.
#[derive(Debug, Clone)]
pub struct Socket {
    path: PathBuf,
    user: UserId,
}

impl Socket {
    /// Speaks for this user.
    #[must_use]
    pub fn new(path: &Path, user: UserId) -> Self {
        Self { path: path.to_owned(), user }
    }

    async fn dial(&self) -> Result<UnixStream, TransportError> {
        UnixStream::connect(&self.path).await.map_err(|error| TransportError::Unreachable {
            at: self.path.display().to_string(),
            reason: error.to_string(),
        })
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, TransportError> {
        let mut stream = self.dial().await?;
        frame::write(&mut stream, ask).await.map_err(lost)?;
        heard(&mut stream).await
    }

    /// Hands a file in.
    ///
    /// # Errors
    /// What the owner says, or that it cannot be reached.
    pub async fn keep(&self, bytes: &[u8], media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        let mut stream = self.dial().await?;
        let ask = Ask::Keep { name: name.to_owned(), media_type: media_type.to_owned(), bytes: bytes.len() as u64 };
        frame::write(&mut stream, &ask).await.map_err(lost)?;
        for part in bytes.chunks(PART_BYTES) {
            frame::write_raw(&mut stream, part).await.map_err(lost)?;
        }
        match heard(&mut stream).await? {
            Answer::Kept { artifact } => Ok(artifact),
            Answer::Refused { cause } => Err(cause),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Lets the owner do a chore.
    ///
    /// # Errors
    /// What the owner says, or that it cannot be reached.
    pub async fn maintain(&self, chore: Chore) -> Result<Json, Cause> {
        match self.ask(&Ask::Maintain(chore)).await? {
            Answer::Done { report } => Ok(report),
            Answer::Refused { cause } => Err(cause),
            other => Err(unexpected(&other).into()),
        }
    }
}

#[async_trait]
impl Transport for Socket {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let ask = Ask::Send { user: self.user.clone(), envelope: Box::new(envelope) };
        match self.ask(&ask).await? {
            Answer::Reply { reply } => Ok(*reply),
            Answer::Refused { cause } => Err(TransportError::Refused(cause)),
            other => Err(unexpected(&other)),
        }
    }

    fn watch(&self, run: &RunId, after: u64) -> Events {
        let (socket, ask) = (self.clone(), Ask::Watch { user: self.user.clone(), run: run.clone(), after });
        let opening = async move {
            let mut stream = socket.dial().await?;
            frame::write(&mut stream, &ask).await.map_err(lost)?;
            Ok::<_, TransportError>(stream)
        };
        let events = |opened: Result<UnixStream, TransportError>| match opened {
            Ok(stream) => stream::try_unfold(stream, |mut stream| async move {
                match heard(&mut stream).await? {
                    Answer::Event { event } => Ok(Some((*event, stream))),
                    Answer::End => Ok(None),
                    Answer::Refused { cause } => Err(TransportError::Refused(cause)),
                    other => Err(unexpected(&other)),
                }
            })
            .boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        };
        stream::once(opening).flat_map(events).boxed()
    }
}

async fn heard(stream: &mut UnixStream) -> Result<Answer, TransportError> {
    frame::read(stream).await.map_err(lost)?.ok_or(TransportError::Lost)
}

fn lost(error: std::io::Error) -> TransportError {
    match error.kind() {
        std::io::ErrorKind::InvalidData => TransportError::Garbled { reason: error.to_string() },
        _ => TransportError::Lost,
    }
}

fn unexpected(answer: &Answer) -> TransportError {
    let kind = match answer {
        Answer::Reply { .. } => "a reply",
        Answer::Event { .. } => "an event",
        Answer::End => "the end of a watch",
        Answer::Kept { .. } => "an artifact",
        Answer::Done { .. } => "a report",
        Answer::Refused { .. } => "a refusal",
    };
    TransportError::Garbled { reason: format!("the other end answered with {kind}") }
}
