//! Accepts the sessions of pods that dial this one: the second half of a handshake over NATS.

use async_nats::{Client, Subscriber};
use futures::StreamExt;
use greenroom_protocol::PodId;

use super::SessionEnv;
use super::dial::HANDSHAKE_MAX;
use super::handshake::{Accepted, Acceptor, Message};
use super::nats_stream::{NatsStream, SessionControl};
use super::observer::RefusedMessage;
use super::stream::StreamState;
use crate::cluster::keys::random;

/// The longest message of a handshake, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// A session that another pod has dialled.
pub struct Incoming {
    /// The pod that has dialled.
    pub peer: PodId,
    /// The session.
    pub stream: NatsStream,
    /// Ends it.
    pub control: SessionControl,
}

/// Receives the pods that dial this one.
///
/// # Errors
/// A message if the client of NATS has ended.
pub async fn listen(env: &SessionEnv) -> Result<Subscriber, String> {
    env.client.subscribe(env.subjects.dial(&env.pod)).await.map_err(|error| error.to_string())
}

/// Replies to a hello, and returns the session once it is confirmed. `refuse` says whether a pod that proves the secret
/// is refused.
pub async fn accept(
    env: &SessionEnv,
    hello: &[u8],
    refuse: impl Fn(&PodId) -> Option<RefusedMessage>,
) -> Option<Incoming> {
    let message = if hello.len() <= MESSAGE_BYTES_MAX { Message::read(hello) } else { None };
    let hello = match message {
        Some(Message::Hello(hello)) => hello,
        Some(Message::Welcome(_) | Message::Refusal(_) | Message::Confirm(_)) | None => {
            env.observer.on_refused(None, RefusedMessage::Unreadable);
            return None;
        }
    };
    let peer = hello.from.clone();
    let refused = refuse(&peer);
    let nonce = random().ok()?;
    let own = (&*env.cluster, &env.pod, env.versions);
    match Acceptor::on_hello(&env.secret, own, hello, nonce, refused) {
        Ok(Accepted::Welcome(acceptor, welcome)) => confirm(env, &acceptor, &welcome).await,
        Ok(Accepted::Refused(session, reason, refusal)) => {
            env.observer.on_refused(Some(&peer), reason);
            publish(&env.client, env.subjects.session(&peer, &session), &refusal).await;
            None
        }
        Err(reason) => {
            env.observer.on_refused(Some(&peer), reason);
            None
        }
    }
}

/// Sends the welcome, and waits for the confirmation.
async fn confirm(env: &SessionEnv, acceptor: &Acceptor, welcome: &Message) -> Option<Incoming> {
    let (peer, session) = (acceptor.peer().clone(), acceptor.session().clone());
    let mut messages = env.client.subscribe(env.subjects.session(&env.pod, &session)).await.ok()?;
    publish(&env.client, env.subjects.session(&peer, &session), welcome).await;
    let waiting = wait_confirm(env, acceptor, &mut messages);
    let Ok(Some(state)) = tokio::time::timeout(HANDSHAKE_MAX, waiting).await else {
        tracing::debug!(peer.pod = %peer, "a session was not confirmed");
        return None;
    };
    let (stream, control) = NatsStream::new(env, &peer, &session, (state, messages), false);
    Some(Incoming { peer, stream, control })
}

async fn wait_confirm(env: &SessionEnv, acceptor: &Acceptor, messages: &mut Subscriber) -> Option<StreamState> {
    while let Some(message) = messages.next().await {
        let refused = match Message::read(&message.payload) {
            Some(Message::Confirm(confirm)) => match acceptor.on_confirm(&confirm) {
                Ok(state) => return Some(state),
                Err(reason) => reason,
            },
            Some(Message::Hello(_) | Message::Welcome(_) | Message::Refusal(_)) | None => RefusedMessage::Unreadable,
        };
        env.observer.on_refused(Some(acceptor.peer()), refused);
    }
    None
}

async fn publish(client: &Client, subject: String, message: &Message) {
    let sent = match message.to_bytes() {
        Ok(bytes) => client.publish(subject, bytes.into()).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = sent {
        tracing::warn!(error.message = error, "a message of a handshake cannot be sent");
    }
}
