//! The frames of the control socket: a length of four bytes, then that many bytes of JSON. The bytes of a
//! file follow their request as raw frames, and an empty frame ends them. Both ends run as the same user.

use std::io;

use greenroom_protocol::event::{RunEvent, WatchedRun};
use greenroom_protocol::{ArtifactRef, Cause, Envelope, Reply, UserId};
use greenroom_registry::artifacts::ARTIFACT_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::config::SettingsHash;

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// Bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes that are allocated for a frame before any of them has arrived.
const FRAME_BYTES_EXPECTED: usize = 64 * 1024;
/// Bytes of a file that the command line uploads.
pub const FILE_BYTES_MAX: u64 = ARTIFACT_BYTES_MAX;

/// One end of a connection of the control socket. A frame is read by one call of the system.
pub type Connection = BufReader<UnixStream>;

/// A request on the control socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// A request of one of the configuration's users.
    Send {
        /// The user. The operating system has authenticated the person, who may act as any of the users.
        user: UserId,
        /// The request.
        envelope: Box<Envelope>,
    },
    /// The events of a run after `after`.
    Watch {
        /// The user.
        user: UserId,
        /// The run.
        run: WatchedRun,
        /// Number of the last event that the client has; 0 for none.
        after: u64,
    },
    /// Stores a file as an artifact; its bytes follow, one raw frame for each chunk, and an empty frame after the last
    /// one. A connection that ends before has sent no file.
    StoreArtifact {
        /// The user whose tenant it belongs to.
        user: UserId,
        /// Its name.
        name: String,
        /// Its media type.
        media_type: String,
    },
    /// Returns the process that owns the data directory, if it accepts requests.
    Identify,
}

/// A response on the control socket. The first one to a request is `Accepted`, or `Refused`: a request without
/// either was not executed, so a client may send it to the next owner of the data directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum ControlResponse {
    /// To any request: it will be executed, and its response follows.
    Accepted,
    /// To [`ControlRequest::Send`].
    Reply {
        /// The reply.
        reply: Box<Reply>,
    },
    /// To [`ControlRequest::Watch`], one for each event.
    Event {
        /// The event.
        event: Box<RunEvent>,
    },
    /// To [`ControlRequest::Watch`]: no event follows.
    End,
    /// To [`ControlRequest::StoreArtifact`].
    ArtifactStored {
        /// The artifact.
        artifact: ArtifactRef,
    },
    /// To [`ControlRequest::Identify`].
    Owner {
        /// The id of the process.
        process: u32,
        /// The hashes of its settings; an owner of an earlier version does not state them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<SettingsHash>,
    },
    /// To any request: it was rejected.
    Refused {
        /// The cause.
        cause: Cause,
    },
}

/// Writes one message.
///
/// # Errors
/// Those of the operating system; [`io::ErrorKind::InvalidData`] above [`FRAME_BYTES_MAX`].
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
    // One write: a peer that is woken by the length alone would wait for the rest.
    let mut frame = Vec::with_capacity(LENGTH_BYTES + bytes.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    to.write_all(&frame).await?;
    to.flush().await
}

/// Reads one message; `None` if the peer has closed the connection.
///
/// # Errors
/// Those of the operating system; [`io::ErrorKind::InvalidData`] if the frame is too large or is not such a message.
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
    let mut length = [0; LENGTH_BYTES];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
    }
    // A larger buffer grows with the bytes that arrive, so that a length alone allocates little.
    let mut bytes = Vec::with_capacity(length.min(FRAME_BYTES_EXPECTED));
    let read = from.take(length as u64).read_to_end(&mut bytes).await?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(bytes)) }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::RunId;

    use super::*;

    #[tokio::test]
    async fn a_message_round_trips_and_the_end_of_the_stream_is_none() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let run = WatchedRun::Id(RunId::new("run_1").unwrap());
        let request = ControlRequest::Watch { user: UserId::new("admin").unwrap(), run, after: 7 };
        let writer = tokio::spawn(async move { write(&mut client, &request).await });
        let read_back: Option<ControlRequest> = read(&mut server).await.unwrap();
        assert!(matches!(read_back, Some(ControlRequest::Watch { after: 7, .. })));
        writer.await.unwrap().unwrap();
        assert!(read::<ControlRequest>(&mut server).await.unwrap().is_none());
    }

    #[test]
    fn an_owner_of_an_earlier_version_states_no_settings() {
        let response = r#"{"response":"owner","process":7}"#;
        let owner: ControlResponse = serde_json::from_str(response).unwrap();
        assert!(matches!(owner, ControlResponse::Owner { process: 7, settings: None }), "{owner:?}");
        assert_eq!(serde_json::to_string(&owner).unwrap(), response);
    }

    #[tokio::test]
    async fn a_frame_with_a_huge_length_is_rejected_unread() {
        let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 1, 2];
        let error = read_raw(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut cut: &[u8] = &[0, 0, 0, 9, 1, 2];
        assert_eq!(read_raw(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
