//! The frames of the control socket: a length of four bytes, then that many bytes of JSON. The bytes of a
//! file follow their request as raw frames, and an empty frame ends them. Both ends run as the same user.

use std::io;

use bytes::BufMut;
use greenroom_protocol::event::{EventNumber, RunEvent, WatchedRun};
use greenroom_protocol::{ArtifactRef, Cause, Envelope, Reply, UserId, strict_json};
use greenroom_registry::artifacts::ARTIFACT_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::document;
use crate::config::SettingsHash;

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// Bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes that are allocated for a frame before any of them has arrived: as many as a chunk of a file has, which is then
/// in memory once, and with no more than its size.
const FRAME_BYTES_EXPECTED: usize = 256 * 1024;
/// Bytes that are allocated for a message before it is written.
const MESSAGE_BYTES_EXPECTED: usize = 512;
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
        /// Number of the last event that the client has.
        after: EventNumber,
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
    write_encoded(to, encode(message)?).await
}

/// A frame with the message, whose length is not set.
#[derive(Debug)]
pub struct EncodedFrame(Vec<u8>);

/// Encodes a message as a frame, so that it can be dropped before the frame is written.
///
/// # Errors
/// If the message has no JSON form.
pub fn encode<T: Serialize>(message: &T) -> io::Result<EncodedFrame> {
    // The length is known once the message is written behind it. A second buffer would double the memory of a reply.
    let mut frame = Vec::with_capacity(MESSAGE_BYTES_EXPECTED);
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    Ok(EncodedFrame(document::append(frame, message)?))
}

/// Writes a message that is encoded.
///
/// # Errors
/// As [`write`].
pub async fn write_encoded(to: &mut (impl AsyncWrite + Unpin + Send), frame: EncodedFrame) -> io::Result<()> {
    write_frame(to, frame.0).await
}

/// Writes raw bytes as one frame.
///
/// # Errors
/// As [`write`].
pub async fn write_raw(to: &mut (impl AsyncWrite + Unpin + Send), bytes: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(LENGTH_BYTES + bytes.len());
    frame.extend_from_slice(&[0; LENGTH_BYTES]);
    frame.extend_from_slice(bytes);
    write_frame(to, frame).await
}

/// Sets the length, which the first bytes of the frame are for, and writes the frame.
async fn write_frame(to: &mut (impl AsyncWrite + Unpin + Send), mut frame: Vec<u8>) -> io::Result<()> {
    let too_large = || io::Error::new(io::ErrorKind::InvalidData, "the message is too large");
    let (prefix, message) = frame.split_first_chunk_mut::<LENGTH_BYTES>().ok_or_else(too_large)?;
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= FRAME_BYTES_MAX);
    *prefix = length.ok_or_else(too_large)?.to_be_bytes();
    // One write: a peer that is woken by the length alone would wait for the rest.
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

/// Reads one request; `None` if the peer has closed the connection.
///
/// # Errors
/// As [`read`], also if a member of the request occurs twice.
pub async fn read_request(from: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Option<ControlRequest>> {
    match read_raw(from).await? {
        Some(bytes) => Ok(Some(strict_json::from_slice(&bytes)?)),
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
    // A larger buffer grows with the bytes that arrive, so that a length alone allocates little. It never becomes larger
    // than the frame.
    let mut bytes = Vec::with_capacity(length.min(FRAME_BYTES_EXPECTED));
    while bytes.len() < length {
        let missing = length.saturating_sub(bytes.len());
        if bytes.len() == bytes.capacity() {
            bytes.reserve_exact(bytes.len().min(missing));
        }
        if from.read_buf(&mut (&mut bytes).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::RunId;

    use super::*;

    #[tokio::test]
    async fn a_message_round_trips_and_the_end_of_the_stream_is_none() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let run = WatchedRun::Id(RunId::new("run_1").unwrap());
        let request = ControlRequest::Watch { user: UserId::new("admin").unwrap(), run, after: EventNumber::new(7, 1) };
        let writer = tokio::spawn(async move { write(&mut client, &request).await });
        let read_back = read_request(&mut server).await.unwrap();
        assert!(matches!(read_back, Some(ControlRequest::Watch { after, .. }) if after == EventNumber::new(7, 1)));
        writer.await.unwrap().unwrap();
        assert!(read_request(&mut server).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_request_with_a_member_that_occurs_twice_is_no_request() {
        let text = r#"{"request":"send","user":"admin","envelope":{"version":1,"request":
            {"verb":"invoke","agent":"a","inputs":{"document":"x","document":"y"}}}}"#;
        let mut written = Vec::new();
        write_raw(&mut written, text.as_bytes()).await.unwrap();
        let error = read_request(&mut &written[..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("`envelope.request.inputs.document` occurs twice"), "{error}");
        let single = text.replace(r#""document":"x","#, "");
        let mut written = Vec::new();
        write_raw(&mut written, single.as_bytes()).await.unwrap();
        assert!(matches!(read_request(&mut &written[..]).await.unwrap(), Some(ControlRequest::Send { .. })));
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

    #[tokio::test]
    async fn a_frame_takes_the_memory_of_its_bytes() {
        for length in [0, 1, FRAME_BYTES_EXPECTED, FRAME_BYTES_EXPECTED + 1, 7 * FRAME_BYTES_EXPECTED + 5] {
            let mut written = Vec::new();
            write_raw(&mut written, &vec![7; length]).await.unwrap();
            written.extend_from_slice(b"the next frame");
            let mut unread = &written[..];
            let bytes = read_raw(&mut unread).await.unwrap().unwrap();
            assert_eq!((bytes.len(), bytes.capacity()), (length, length));
            assert!(bytes.iter().all(|byte| *byte == 7));
            assert_eq!(unread, b"the next frame");
        }
    }

    #[tokio::test]
    async fn a_message_above_the_limit_is_not_written() {
        let mut written = Vec::new();
        let error = write(&mut written, &"x".repeat(FRAME_BYTES_MAX)).await.unwrap_err();
        assert_eq!((error.kind(), written.len()), (io::ErrorKind::InvalidData, 0));
    }
}
