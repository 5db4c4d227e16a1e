//! What happens to sessions, for metrics and logs: how they end, and which messages are refused.

use greenroom_protocol::PodId;

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// This pod has ended it: it was idle, or a node has stopped.
    Local,
    /// The other pod has ended it.
    Peer,
    /// A chunk is missing.
    Gap,
    /// The other pod has sent more than it was granted.
    Overrun,
    /// Nothing has arrived for so long that the other pod, or the way to it, is lost.
    Silent,
    /// The client of NATS has ended.
    Connection,
    /// The same pod has dialled again.
    Replaced,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Local, Self::Peer, Self::Gap, Self::Overrun, Self::Silent, Self::Connection, Self::Replaced];

    /// The reason in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Gap => "gap",
            Self::Overrun => "overrun",
            Self::Silent => "silent",
            Self::Connection => "connection",
            Self::Replaced => "replaced",
        }
    }
}

/// Why a message of a session, or of a handshake, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedMessage {
    /// It cannot be read.
    Unreadable,
    /// It does not prove the secret of the cluster, or not the keys of its session.
    Forged,
    /// It was received before.
    Replayed,
    /// It is for another cluster.
    Cluster,
    /// It is for another pod.
    Audience,
    /// The other pod has no version of the protocol that this one has.
    Version,
    /// This pod dials the other one at the same time, and its session is the one that remains.
    Simultaneous,
    /// Too many handshakes are under way.
    Overloaded,
}

impl RefusedMessage {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::Forged,
        Self::Replayed,
        Self::Cluster,
        Self::Audience,
        Self::Version,
        Self::Simultaneous,
        Self::Overloaded,
    ];

    /// The reason in metrics, logs and refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Cluster => "cluster",
            Self::Audience => "audience",
            Self::Version => "version",
            Self::Simultaneous => "simultaneous",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Receives what happens to sessions.
pub trait SessionObserver: Send + Sync {
    /// A session with this pod is open; `dialled` if this pod has dialled it.
    fn on_opened(&self, peer: &PodId, dialled: bool);
    /// An open session has ended.
    fn on_closed(&self, peer: &PodId, reason: CloseReason);
    /// A message was refused. The peer is the one of the session, or the one that the message names.
    fn on_refused(&self, peer: Option<&PodId>, reason: RefusedMessage);
}

/// An observer that logs only.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSessions;

impl SessionObserver for LogSessions {
    fn on_opened(&self, peer: &PodId, dialled: bool) {
        tracing::info!(peer.pod = %peer, session.dialled = dialled, "session with another pod opened");
    }

    fn on_closed(&self, peer: &PodId, reason: CloseReason) {
        match reason {
            CloseReason::Local | CloseReason::Peer | CloseReason::Replaced => {
                tracing::info!(peer.pod = %peer, session.reason = reason.as_str(), "session with another pod closed");
            }
            CloseReason::Gap | CloseReason::Overrun | CloseReason::Silent | CloseReason::Connection => {
                tracing::warn!(peer.pod = %peer, session.reason = reason.as_str(), "session with another pod lost");
            }
        }
    }

    fn on_refused(&self, peer: Option<&PodId>, reason: RefusedMessage) {
        let peer = peer.map(PodId::as_str).unwrap_or_default();
        match reason {
            RefusedMessage::Simultaneous => {
                tracing::debug!(peer.pod = peer, session.reason = reason.as_str(), "message of a session refused");
            }
            RefusedMessage::Unreadable
            | RefusedMessage::Forged
            | RefusedMessage::Replayed
            | RefusedMessage::Cluster
            | RefusedMessage::Audience
            | RefusedMessage::Version
            | RefusedMessage::Overloaded => {
                tracing::warn!(peer.pod = peer, session.reason = reason.as_str(), "message of a session refused");
            }
        }
    }
}
