//! What travels on the control socket: a length of four bytes, then that many bytes of JSON; the
//! bytes of a file follow their question as frames of their own kind. Both ends are one user's.

use std::io;

use greenroom_protocol::event::RunEvent;
use greenroom_protocol::{ArtifactRef, Cause, Envelope, Reply, RunId, Timestamp, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes of a file that the command line hands in.
pub const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is asked on the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ControlRequest {
    /// A request of one of the configuration's users.
    Send {
        /// Who asks; the operating system vouches for the person, who may be any of the users.
        user: UserId,
        /// What.
        envelope: Box<Envelope>,
    },
    /// The events of a run, from the one after `after` on.
    Watch {
        /// Who asks.
        user: UserId,
        /// The run.
        run: RunId,
        /// The last event that was seen; 0 for none.
        after: u64,
    },
    /// Keep a file as an artifact; its bytes follow, as one raw frame for each part.
    StoreArtifact {
        /// What its owner calls it.
        name: String,
        /// What it is.
        media_type: String,
        /// How many bytes follow.
        bytes: u64,
    },
    /// Look after the stores.
    Admin(AdminCommand),
}

/// What the owner of the data directory may do beside asking: these touch the files as a whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "chore", rename_all = "snake_case")]
pub enum AdminCommand {
    /// Walk the audit's chain.
    VerifyAudit,
    /// Remove audit records from before this moment.
    PruneAudit {
        /// The moment.
        before: Timestamp,
    },
    /// Forget runs that ended before this moment.
    PruneRuns {
        /// The moment.
        before: Timestamp,
    },
    /// Check every file of the store.
    CheckStore,
    /// Copy the store while work goes on.
    Backup {
        /// The new file; it may not exist.
        to: std::path::PathBuf,
    },
    /// Take up the runs that nobody holds.
    ResumeAll,
}

/// What is answered on the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ControlResponse {
    /// To [`Ask::Send`].
    Reply {
        /// The reply.
        reply: Box<Reply>,
    },
    /// To [`Ask::Watch`], one for each event.
    Event {
        /// The event.
        event: Box<RunEvent>,
    },
    /// To [`Ask::Watch`]: no event follows.
    End,
    /// To [`Ask::Keep`].
    Kept {
        /// Where it lies.
        artifact: ArtifactRef,
    },
    /// To [`Ask::Maintain`].
    Done {
        /// What there is to say.
        report: serde_json::Value,
    },
    /// To anything: no.
    Refused {
        /// Why.
        cause: Cause,
    },
}

/// Writes one message.
///
/// # Errors
/// What the operating system says; [`io::ErrorKind::InvalidData`] above [`FRAME_BYTES_MAX`].
pub async fn write<T: Serialize + Sync>(to: &mut (impl AsyncWrite + Unpin + Send), message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    write_raw(to, &bytes).await
}

/// Writes raw bytes as one frame.
///
/// # Errors
/// As [`write`].
pub async fn write_raw(to: &mut (impl AsyncWrite + Unpin + Send), bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is too large"))?;
    to.write_all(&length.to_be_bytes()).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

/// Reads one message; `None` where the other end has nothing more to say.
///
/// # Errors
/// What the operating system says; [`io::ErrorKind::InvalidData`] if it is too large or no such message.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Option<T>> {
    match read_raw(from).await? {
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        None => Ok(None),
    }
}

/// Reads one frame of raw bytes.
///
/// # Errors
/// As [`read`].
pub async fn read_raw(from: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
    }
    // The buffer grows with what arrives, so that a length alone reserves nothing.
    let mut bytes = Vec::new();
    let read = from.take(length as u64).read_to_end(&mut bytes).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_survives_the_way_and_the_end_is_seen() {
        let (mut here, mut there) = tokio::io::duplex(64);
        let ask = ControlRequest::Admin(AdminCommand::PruneRuns { before: Timestamp::from_micros(7) });
        let writer = tokio::spawn(async move { write(&mut here, &ask).await });
        let read_back: Option<ControlRequest> = read(&mut there).await.unwrap();
        assert!(
            matches!(read_back, Some(ControlRequest::Admin(AdminCommand::PruneRuns { before })) if before.as_micros() == 7)
        );
        writer.await.unwrap().unwrap();
        assert!(read::<ControlRequest>(&mut there).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_says_it_is_huge_is_refused_unread() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2];
        let refused = read_raw(&mut bytes).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        let mut cut: &[u8] = &[0, 0, 0, 9, 1, 2];
        assert_eq!(read_raw(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
