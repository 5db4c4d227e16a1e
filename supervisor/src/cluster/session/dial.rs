//! Dials another pod: the first half of a handshake over NATS.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use greenroom_protocol::PodId;

use super::SessionEnv;
use super::handshake::{Dialler, Message, Parties};
use super::nats_stream::{NatsStream, SessionControl};
use super::observer::RefusedMessage;
use super::stream::StreamState;
use super::subject::SessionId;
use crate::cluster::keys::{KeyError, random};

/// Longest wait for the reply of a pod that is dialled. One that does not prove the secret gives none.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// Why a pod could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No pod of this id is connected to NATS.
    #[error("no pod of this id is connected to NATS")]
    NoPod,
    /// It has refused the session.
    #[error("it refuses the session: {0}")]
    Refused(String),
    /// It has not replied, as a pod that has another secret, or is cut from NATS.
    #[error("it has not proved the secret of the cluster within {} s", HANDSHAKE_MAX.as_secs())]
    TimedOut,
    /// The client of NATS cannot send.
    #[error("the connection to NATS is lost")]
    Connection,
    /// A key cannot be derived, or the system has no random bytes.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A message cannot be written.
    #[error("a message of the handshake cannot be written")]
    Message(#[from] serde_json::Error),
}

impl DialError {
    /// True if both pods dial each other, and the session that the other one dials remains.
    #[must_use]
    pub fn is_simultaneous(&self) -> bool {
        matches!(self, Self::Refused(reason) if reason == RefusedMessage::Simultaneous.as_str())
    }
}

/// Dials a pod, and returns the open session.
///
/// # Errors
/// [`DialError`]
pub async fn dial(env: &SessionEnv, peer: &PodId) -> Result<(NatsStream, SessionControl), DialError> {
    let session = SessionId::from_random(random()?);
    let parties = Parties { cluster: &env.cluster, own: &env.pod, other: peer };
    let dialler = Dialler::new(&env.secret, parties, &session, random()?)?.with_versions(env.versions);
    let own_subject = env.subjects.session(&env.pod, &session);
    let mut messages = env.client.subscribe(own_subject.clone()).await.map_err(|_| DialError::Connection)?;
    let hello = dialler.hello().to_bytes()?;
    // The subject of replies is that of the session, so that the server reports there that no pod listens.
    let sending = env.client.publish_with_reply(env.subjects.dial(peer), own_subject, hello.into());
    sending.await.map_err(|_| DialError::Connection)?;
    let waiting = wait_welcome(env, peer, &dialler, &mut messages);
    let (confirm, state) = tokio::time::timeout(HANDSHAKE_MAX, waiting).await.map_err(|_| DialError::TimedOut)??;
    let sending = env.client.publish(env.subjects.session(peer, &session), confirm.to_bytes()?.into());
    sending.await.map_err(|_| DialError::Connection)?;
    Ok(NatsStream::new(env, peer, &session, (state, messages), true))
}

/// Waits for the welcome or the refusal of the pod; whatever is neither is dropped.
async fn wait_welcome(
    env: &SessionEnv,
    peer: &PodId,
    dialler: &Dialler,
    messages: &mut Subscriber,
) -> Result<(Message, StreamState), DialError> {
    while let Some(message) = messages.next().await {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(DialError::NoPod);
        }
        let refused = match Message::read(&message.payload) {
            Some(Message::Welcome(welcome)) => match dialler.on_welcome(&welcome) {
                Ok(opened) => return Ok(opened),
                Err(reason) => reason,
            },
            Some(Message::Refusal(refusal)) => match dialler.on_refusal(&refusal) {
                Ok(()) => return Err(DialError::Refused(refusal.reason)),
                Err(reason) => reason,
            },
            Some(Message::Hello(_) | Message::Confirm(_)) | None => RefusedMessage::Unreadable,
        };
        env.observer.on_refused(Some(peer), refused);
    }
    Err(DialError::Connection)
}
