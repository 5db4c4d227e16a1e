//! The target `session`: what arrives on the subjects between pods. The first byte of the input selects what the rest is
//! read as. It is read as it is, and spliced into a message that is authentic: nothing is accepted but what the secret of
//! the cluster has signed, and what is refused changes nothing.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use greenroom_protocol::received::IngressKind;
use greenroom_protocol::{IdGenerator, Json, PodId, Received, Request, Timestamp};
use greenroom_rego::DelegationVerifier as _;
use greenroom_supervisor::cluster::delegation::refusal::{DelegationObserver, RefusedDelegation};
use greenroom_supervisor::cluster::delegation::verifier::Delegations;
use greenroom_supervisor::cluster::keys::{ClusterKey, ClusterSecret, KeyLabel};
use greenroom_supervisor::cluster::peer::outcome::into_result;
use greenroom_supervisor::cluster::peer::{CallId, split};
use greenroom_supervisor::cluster::session::chunk::{ChunkOpener, ChunkSealer};
use greenroom_supervisor::cluster::session::handshake::{
    Accepted, Acceptor, Dialler, Message, Parties, VERSIONS, WINDOW_BYTES,
};
use greenroom_supervisor::cluster::session::observer::RefusedMessage;
use greenroom_supervisor::cluster::session::stream::{Change, StreamState};
use greenroom_supervisor::cluster::session::subject::SessionId;
use greenroom_supervisor::cluster::signed;

use crate::delegations;

/// Tokens of messages between pods.
pub(super) const WORDS: &[&str] = &[
    "{\"type\":\"hello\"",
    "{\"type\":\"welcome\"",
    "{\"type\":\"refusal\"",
    "{\"type\":\"confirm\"",
    "\"versions\":{\"from\":1,\"to\":1}",
    "\"cluster\":\"fuzz\"",
    "\"from\":\"one\"",
    "\"to\":\"two\"",
    "\"nonce\":\"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU\"",
    "\"window\":8388608",
    "\"window\":4294967295",
    "\u{1}\0\0\0\0\0\0\0\0",
    "\u{2}\0\0\0\0\0\0\0\u{1}\0\0\0\u{7}",
    "eyJ2ZXJzaW9uIjoxfQ",
    ".",
    "\u{3}one{\"version\":1}",
    "{\"pod\":\"one\",\"n\":2}",
    "null",
];

const SECRET: &str = "a secret of sixteen bytes or more";
const CLUSTER: &str = "fuzz";
/// A signed message of the cluster, and its subject.
const SIGNED_SUBJECT: &str = "greenroom.internal.wake";
const SIGNED_BODY: &[u8] = b"{\"pod\":\"one\",\"n\":1}";
/// The content of the authentic chunk.
const CONTENT: &[u8] = b"a part of a stream";
const NOW: Timestamp = Timestamp::from_micros(1_735_787_045_000_000);
/// How many kinds of messages there are.
const KINDS: u8 = 6;

struct Fixed;

impl IdGenerator for Fixed {
    fn next_id(&self) -> u128 {
        7
    }
}

/// An observer that ignores refusals.
struct Silent;

impl DelegationObserver for Silent {
    fn on_refused(&self, _: Option<&PodId>, _: RefusedDelegation) {}
}

/// Two pods, and an authentic message of each kind.
struct SessionFixture {
    secret: ClusterSecret,
    acceptor_pod: PodId,
    dialler: Dialler,
    acceptor: Box<Acceptor>,
    /// Hello, welcome, refusal, confirmation.
    handshake: [Message; 4],
    chunk_key: ClusterKey,
    wake_key: ClusterKey,
    request: Request,
    token: String,
    call: Vec<u8>,
}

impl SessionFixture {
    fn open() -> anyhow::Result<Self> {
        let (secret, one, two) = (ClusterSecret::new(SECRET, CLUSTER)?, PodId::new("one")?, PodId::new("two")?);
        let parties = Parties { cluster: CLUSTER, own: &one, other: &two };
        let dialler = Dialler::new(&secret, parties, &SessionId::from_random([3; 16]), [5; 32])?;
        let hello = dialler.hello();
        let accept = |reason| match &hello {
            Message::Hello(hello) => {
                Acceptor::on_hello(&secret, (CLUSTER, &two, VERSIONS), hello.clone(), [9; 32], reason).ok()
            }
            Message::Welcome(_) | Message::Refusal(_) | Message::Confirm(_) => None,
        };
        let Some(Accepted::Welcome(acceptor, welcome)) = accept(None) else { bail!("a hello is welcome") };
        let Some(Accepted::Refused(_, _, refusal)) = accept(Some(RefusedMessage::Overloaded)) else {
            bail!("a hello is refused")
        };
        let confirm = match &welcome {
            Message::Welcome(welcome) => dialler.on_welcome(welcome).ok().map(|(confirm, _)| confirm),
            Message::Hello(_) | Message::Refusal(_) | Message::Confirm(_) => None,
        };
        let handshake = [hello, welcome, refusal, confirm.context("a welcome is confirmed")?];
        let request = delegations::request("echo_agent", 1)?;
        let statement = delegations::statement((&one, &two), (&request, 1), NOW)?;
        let token = delegations::seal(&secret, &one, &statement)?;
        let call = CallId(1).frame(&one, &delegations::envelope(&request, token.clone())?);
        let (chunk_key, wake_key) = (secret.key(KeyLabel::Chunks, b"fuzz")?, secret.key(KeyLabel::Wake, b"greenroom")?);
        Ok(Self { secret, acceptor_pod: two, dialler, acceptor, handshake, chunk_key, wake_key, request, token, call })
    }

    /// Reads an input as it is, and spliced into an authentic message.
    fn read_all(&self, input: &[u8], authentic: &[u8], read: fn(&Self, &[u8]) -> bool) {
        for variant in variants(input, authentic) {
            // What is accepted, the reader has compared with what was sent.
            let _is_accepted = read(self, &variant);
        }
    }

    /// Reads a message of a handshake, and returns whether it is accepted.
    fn read_handshake(&self, bytes: &[u8]) -> bool {
        let Some(message) = Message::read(bytes) else { return false };
        let is_accepted = match &message {
            Message::Hello(hello) => {
                let own = (CLUSTER, &self.acceptor_pod, VERSIONS);
                Acceptor::on_hello(&self.secret, own, hello.clone(), [9; 32], None).is_ok()
            }
            Message::Welcome(welcome) => self.dialler.on_welcome(welcome).is_ok(),
            Message::Refusal(refusal) => self.dialler.on_refusal(refusal).is_ok(),
            Message::Confirm(confirm) => self.acceptor.on_confirm(confirm).is_ok(),
        };
        assert!(!is_accepted || self.handshake.contains(&message), "no pod has sent {message:?}");
        is_accepted
    }

    /// Receives a chunk, and returns whether it is taken. The authentic one is taken after any other.
    fn receive_chunk(&self, bytes: &[u8]) -> bool {
        let key = || self.chunk_key.clone();
        let authentic = ChunkSealer::new(key()).data(CONTENT);
        let mut state = StreamState::new(ChunkSealer::new(key()), ChunkOpener::new(key()), WINDOW_BYTES, WINDOW_BYTES);
        let is_taken = !matches!(state.receive(&bytes.to_vec().into()), Change::Refused(_));
        assert_eq!(is_taken, *bytes == *authentic, "only what was sent is taken");
        if !is_taken {
            assert_eq!(state.receive(&authentic), Change::Readable, "a refused chunk changes nothing");
        }
        assert_eq!(*state.read(CONTENT.len()), *CONTENT);
        is_taken
    }

    /// Verifies a delegation of the request.
    fn verify(&self, bytes: &[u8]) -> bool {
        let Ok(token) = std::str::from_utf8(bytes) else { return false };
        let verifier = Delegations::new(self.secret.clone(), self.acceptor_pod.clone(), Arc::new(Silent));
        let is_accepted = verifier.verify(token, &self.request, NOW).is_ok();
        assert!(!is_accepted || token == self.token, "no pod has issued {token}");
        is_accepted
    }

    /// Reads a signed message.
    fn read_signed(&self, bytes: &[u8]) -> bool {
        let signature = signed::signature(&self.wake_key, SIGNED_SUBJECT, SIGNED_BODY);
        let is_read = signed::open::<Json>(&self.wake_key, SIGNED_SUBJECT, bytes, &signature).is_some();
        assert_eq!(is_read, bytes == SIGNED_BODY, "only what was signed is read");
        is_read
    }
}

/// Reads the call of another pod: its caller, and the envelope of a request.
fn read_call(bytes: &[u8]) -> bool {
    let Some((caller, envelope)) = split(bytes) else { return false };
    let id = bytes.first_chunk().map(|id| CallId(u128::from_be_bytes(*id)));
    assert_eq!(id.map(|id| id.frame(&caller, envelope)).as_deref(), Some(bytes), "a call has one form");
    match Received::decode(envelope, IngressKind::Peer, &Fixed, NOW) {
        Ok(received) => !received.deadline().has_passed(NOW),
        Err(_) => false,
    }
}

/// The input itself, and an authentic message into which it is spliced, where its first byte says.
fn variants(input: &[u8], authentic: &[u8]) -> [Vec<u8>; 2] {
    let (at, piece) = input.split_first().map_or((0, input), |(at, piece)| (usize::from(*at), piece));
    let start = at * authentic.len() / 256;
    let end = start.saturating_add(piece.len()).min(authentic.len());
    let (head, rest) = (authentic.get(..start).unwrap_or_default(), authentic.get(end..).unwrap_or_default());
    [input.to_vec(), [head, piece, rest].concat()]
}

/// Reads a message between pods.
#[expect(clippy::expect_used, reason = "without authentic messages there is nothing to test")]
pub(super) fn session(bytes: &[u8]) {
    static FIXTURE: OnceLock<SessionFixture> = OnceLock::new();
    let Some((kind, input)) = bytes.split_first() else { return };
    let fixture = FIXTURE.get_or_init(|| SessionFixture::open().expect("authentic messages can be made"));
    match kind % KINDS {
        0 => {
            for message in &fixture.handshake {
                fixture.read_all(input, &message.to_bytes().unwrap_or_default(), SessionFixture::read_handshake);
            }
        }
        1 => {
            let authentic = ChunkSealer::new(fixture.chunk_key.clone()).data(CONTENT);
            fixture.read_all(input, &authentic, SessionFixture::receive_chunk);
        }
        2 => fixture.read_all(input, fixture.token.as_bytes(), SessionFixture::verify),
        3 => fixture.read_all(input, &fixture.call, |_, bytes| read_call(bytes)),
        4 => fixture.read_all(input, SIGNED_BODY, SessionFixture::read_signed),
        _ => drop(into_result(input)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pods_have_sent_is_accepted_and_a_changed_byte_is_refused() {
        let fixture = SessionFixture::open().unwrap();
        let chunk = ChunkSealer::new(fixture.chunk_key.clone()).data(CONTENT);
        for message in &fixture.handshake {
            assert!(fixture.read_handshake(&message.to_bytes().unwrap()), "{message:?}");
        }
        assert!(fixture.receive_chunk(&chunk) && fixture.verify(fixture.token.as_bytes()));
        assert!(read_call(&fixture.call) && fixture.read_signed(SIGNED_BODY));
        let [_, changed] = variants(b"\x80!", fixture.token.as_bytes());
        assert!(!fixture.verify(&changed));
        let [_, changed] = variants(b"\x80!", &chunk);
        assert!(!fixture.receive_chunk(&changed));
    }
}
