//! The handshake of a session, without I/O. Both pods prove the secret of the cluster over the nonces of both, their ids,
//! the id of the session, the versions and the windows; and both derive the same two keys from that.
//!
//! ```text
//! dialler → acceptor   hello     versions, cluster, both pods, session, nonce, window; code of all of it
//! acceptor → dialler   welcome   version, nonce, window; code of the hello and of all of it
//!                      refusal   reason, versions; code of the hello and of that
//! dialler → acceptor   confirm   code of hello and welcome
//! ```
//!
//! The confirmation proves that the hello is no repetition: it is over the nonce of the acceptor. A message whose code is
//! wrong is dropped, and the handshake continues; so nothing that others send ends it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use greenroom_protocol::PodId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chunk::{ChunkOpener, ChunkSealer};
use super::observer::RefusedMessage;
use super::stream::StreamState;
use super::subject::SessionId;
use crate::cluster::keys::{ClusterKey, ClusterSecret, KeyError, KeyLabel, TAG_BYTES};

/// The oldest and the newest version of the protocol of sessions that this release has.
pub const VERSIONS: Versions = Versions { from: 1, to: 1 };
/// Bytes that a pod grants another one at a time.
pub const WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Bounds of the window that another pod may grant.
const WINDOW_BYTES_MIN: u32 = 4 * 1024;

/// A range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub from: u16,
    /// The newest.
    pub to: u16,
}

impl Versions {
    /// The newest version in both ranges.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.to.min(other.to);
        (newest >= self.from.max(other.from)).then_some(newest)
    }
}

/// 32 bytes, written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes32(pub [u8; TAG_BYTES]);

impl Serialize for Bytes32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("these are not 32 bytes"))
    }
}

/// A message of the handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The first one.
    Hello(Hello),
    /// The acceptor agrees.
    Welcome(Welcome),
    /// The acceptor does not agree.
    Refusal(Refusal),
    /// The last one.
    Confirm(Confirm),
}

impl Message {
    /// Reads a message; `None` if it is none. Members that only a newer version has are ignored.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The message as bytes.
    ///
    /// # Errors
    /// None: every message is JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Who dials whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    versions: Versions,
    cluster: String,
    /// The pod that dials.
    pub from: PodId,
    to: PodId,
    session: String,
    nonce: Bytes32,
    window: u32,
    code: Bytes32,
}

/// The acceptor agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    version: u16,
    nonce: Bytes32,
    window: u32,
    code: Bytes32,
}

/// The acceptor does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A reason, as [`RefusedMessage::as_str`] writes it.
    pub reason: String,
    /// The versions of the acceptor.
    pub versions: Versions,
    code: Bytes32,
}

/// The dialler has read the welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    code: Bytes32,
}

/// Which of the two pods one end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialler,
    Acceptor,
}

/// The fields of a message in an unambiguous form: each after its length.
#[derive(Debug, Clone, Default)]
struct Transcript(Vec<u8>);

impl Transcript {
    fn with(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(&(field.len() as u64).to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    fn of_hello(hello: &Hello) -> Self {
        Self::default()
            .with(b"hello")
            .with(&hello.versions.from.to_be_bytes())
            .with(&hello.versions.to.to_be_bytes())
            .with(hello.cluster.as_bytes())
            .with(hello.from.as_str().as_bytes())
            .with(hello.to.as_str().as_bytes())
            .with(hello.session.as_bytes())
            .with(&hello.nonce.0)
            .with(&hello.window.to_be_bytes())
    }

    fn of_welcome(self, welcome: &Welcome) -> Self {
        self.with(b"welcome")
            .with(&welcome.version.to_be_bytes())
            .with(&welcome.nonce.0)
            .with(&welcome.window.to_be_bytes())
    }

    fn of_refusal(self, refusal: &Refusal) -> Self {
        self.with(b"refusal")
            .with(refusal.reason.as_bytes())
            .with(&refusal.versions.from.to_be_bytes())
            .with(&refusal.versions.to.to_be_bytes())
    }

    fn of_confirm(self) -> Self {
        self.with(b"confirm")
    }

    fn code(&self, key: &ClusterKey) -> Bytes32 {
        Bytes32(key.tag(&self.0))
    }

    fn check(&self, key: &ClusterKey, code: &Bytes32) -> Result<(), RefusedMessage> {
        if key.is_tag(&self.0, &code.0) { Ok(()) } else { Err(RefusedMessage::Forged) }
    }
}

/// The names of the two pods of a handshake, and of their cluster.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// This pod.
    pub own: &'a PodId,
    /// The other pod.
    pub other: &'a PodId,
}

/// The end that dials, after its hello.
#[derive(Debug)]
pub struct Dialler {
    secret: ClusterSecret,
    key: ClusterKey,
    hello: Hello,
}

impl Dialler {
    /// Begins a handshake with fresh random bytes.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn new(
        secret: &ClusterSecret,
        parties: Parties<'_>,
        session: &SessionId,
        nonce: [u8; 32],
    ) -> Result<Self, KeyError> {
        let key = secret.key(KeyLabel::Handshake, b"")?;
        let mut hello = Hello {
            versions: VERSIONS,
            cluster: parties.cluster.to_owned(),
            from: parties.own.clone(),
            to: parties.other.clone(),
            session: session.as_str().to_owned(),
            nonce: Bytes32(nonce),
            window: WINDOW_BYTES,
            code: Bytes32([0; TAG_BYTES]),
        };
        hello.code = Transcript::of_hello(&hello).code(&key);
        Ok(Self { secret: secret.clone(), key, hello })
    }

    /// The same handshake by a pod that has these versions.
    #[must_use]
    pub fn with_versions(mut self, versions: Versions) -> Self {
        self.hello.versions = versions;
        self.hello.code = Transcript::of_hello(&self.hello).code(&self.key);
        self
    }

    /// The first message.
    #[must_use]
    pub fn hello(&self) -> Message {
        Message::Hello(self.hello.clone())
    }

    /// Verifies a welcome. Returns the confirmation and the open session.
    ///
    /// # Errors
    /// [`RefusedMessage`]; then the handshake continues to wait.
    pub fn on_welcome(&self, welcome: &Welcome) -> Result<(Message, StreamState), RefusedMessage> {
        let transcript = Transcript::of_hello(&self.hello).of_welcome(welcome);
        transcript.check(&self.key, &welcome.code)?;
        if self.hello.versions.common(Versions { from: welcome.version, to: welcome.version }).is_none() {
            return Err(RefusedMessage::Version);
        }
        let window = check_window(welcome.window)?;
        let code = transcript.clone().of_confirm().code(&self.key);
        let state = open(&self.secret, &transcript, Side::Dialler, (window, self.hello.window))
            .map_err(|_| RefusedMessage::Unreadable)?;
        Ok((Message::Confirm(Confirm { code }), state))
    }

    /// Verifies a refusal.
    ///
    /// # Errors
    /// [`RefusedMessage`]; then the handshake continues to wait.
    pub fn on_refusal(&self, refusal: &Refusal) -> Result<(), RefusedMessage> {
        Transcript::of_hello(&self.hello).of_refusal(refusal).check(&self.key, &refusal.code)
    }
}

/// The end that was dialled, after its welcome.
#[derive(Debug)]
pub struct Acceptor {
    secret: ClusterSecret,
    key: ClusterKey,
    hello: Hello,
    welcome: Welcome,
    transcript: Transcript,
    session: SessionId,
}

/// What becomes of a hello.
#[derive(Debug)]
pub enum Accepted {
    /// The handshake continues with this welcome.
    Welcome(Box<Acceptor>, Message),
    /// The dialler has proved the secret, and is refused.
    Refused(SessionId, RefusedMessage, Message),
}

impl Acceptor {
    /// Verifies a hello as this pod of this cluster, with these versions, and agrees with fresh random bytes, unless
    /// `refused` says why not.
    ///
    /// # Errors
    /// [`RefusedMessage`] if the dialler has not proved the secret, or means another pod; then it gets no reply.
    pub fn on_hello(
        secret: &ClusterSecret,
        (cluster, own, versions): (&str, &PodId, Versions),
        hello: Hello,
        nonce: [u8; 32],
        refused: Option<RefusedMessage>,
    ) -> Result<Accepted, RefusedMessage> {
        let key = secret.key(KeyLabel::Handshake, b"").map_err(|_| RefusedMessage::Unreadable)?;
        let hello_transcript = Transcript::of_hello(&hello);
        if hello.cluster != cluster {
            return Err(RefusedMessage::Cluster);
        }
        hello_transcript.check(&key, &hello.code)?;
        if hello.to != *own || hello.from == *own {
            return Err(RefusedMessage::Audience);
        }
        let session = SessionId::parse(&hello.session).ok_or(RefusedMessage::Unreadable)?;
        check_window(hello.window)?;
        let (reason, version) = (refused.unwrap_or(RefusedMessage::Version), versions.common(hello.versions));
        let (None, Some(version)) = (refused, version) else {
            return Ok(refuse(session, hello_transcript, &key, (reason, versions)));
        };
        let mut welcome =
            Welcome { version, nonce: Bytes32(nonce), window: WINDOW_BYTES, code: Bytes32([0; TAG_BYTES]) };
        let transcript = hello_transcript.of_welcome(&welcome);
        welcome.code = transcript.code(&key);
        let acceptor = Self { secret: secret.clone(), key, hello, welcome, transcript, session };
        Ok(Accepted::Welcome(Box::new(acceptor), Message::Welcome(welcome)))
    }

    /// The pod that dials.
    #[must_use]
    pub const fn peer(&self) -> &PodId {
        &self.hello.from
    }

    /// The id of the session.
    #[must_use]
    pub const fn session(&self) -> &SessionId {
        &self.session
    }

    /// Verifies the confirmation, and returns the open session.
    ///
    /// # Errors
    /// [`RefusedMessage`]; then the handshake continues to wait.
    pub fn on_confirm(&self, confirm: &Confirm) -> Result<StreamState, RefusedMessage> {
        self.transcript.clone().of_confirm().check(&self.key, &confirm.code)?;
        let windows = (self.hello.window, self.welcome.window);
        open(&self.secret, &self.transcript, Side::Acceptor, windows).map_err(|_| RefusedMessage::Unreadable)
    }
}

fn refuse(
    session: SessionId,
    transcript: Transcript,
    key: &ClusterKey,
    (reason, versions): (RefusedMessage, Versions),
) -> Accepted {
    let mut refusal = Refusal { reason: reason.as_str().to_owned(), versions, code: Bytes32([0; TAG_BYTES]) };
    refusal.code = transcript.of_refusal(&refusal).code(key);
    Accepted::Refused(session, reason, Message::Refusal(refusal))
}

fn check_window(window: u32) -> Result<u32, RefusedMessage> {
    if window >= WINDOW_BYTES_MIN { Ok(window) } else { Err(RefusedMessage::Unreadable) }
}

/// The open session of one side: its credit, and the window that it grants.
fn open(
    secret: &ClusterSecret,
    transcript: &Transcript,
    side: Side,
    (credit, window): (u32, u32),
) -> Result<StreamState, KeyError> {
    let direction = |name: &[u8]| secret.key(KeyLabel::Chunks, &transcript.clone().with(name).0);
    let (from_dialler, from_acceptor) = (direction(b"from dialler")?, direction(b"from acceptor")?);
    let (send, receive) = match side {
        Side::Dialler => (from_dialler, from_acceptor),
        Side::Acceptor => (from_acceptor, from_dialler),
    };
    Ok(StreamState::new(ChunkSealer::new(send), ChunkOpener::new(receive), credit, window))
}

#[cfg(test)]
mod tests;
