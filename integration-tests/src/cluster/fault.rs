//! What can happen to the pods, to their connections and to their servers.

use std::fmt;
use std::time::Duration;

use super::history::OutageKind;
use super::postgres_server::StopMode;
use super::proxy::Link;

/// Pods that share the database.
pub const PODS: usize = 3;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A pod is out of action until another one has declared it dead and others have resumed its runs, and at least for
    /// this time.
    Outage {
        /// The pod.
        pod: usize,
        /// What is done to it.
        kind: OutageKind,
        /// The time.
        lasts: Duration,
    },
    /// What a pod and PostgreSQL send to each other is delayed for some time.
    SlowLink {
        /// The pod.
        pod: usize,
        /// The delay of each piece.
        delay: Duration,
        /// The time.
        lasts: Duration,
    },
    /// The connections of a pod to PostgreSQL are closed; new ones are accepted at once.
    DropConnections {
        /// The pod.
        pod: usize,
    },
    /// PostgreSQL is stopped, and started again after this time.
    RestartPostgres {
        /// How it is stopped.
        mode: StopMode,
        /// The time.
        away: Duration,
    },
    /// Redis forgets everything.
    FlushRedis,
    /// Redis is killed, and started again.
    RestartRedis,
    /// The clock of the last pod is put forward.
    ShiftClock {
        /// How far.
        by: Duration,
    },
    /// The connection of a pod to NATS is cut, silent or slow for some time. The pod keeps its lease and its runs.
    NatsLink {
        /// The pod.
        pod: usize,
        /// What happens to the connection.
        link: Link,
        /// The time.
        lasts: Duration,
    },
    /// NATS is killed, and started again after this time.
    RestartNats {
        /// The time.
        away: Duration,
    },
    /// A subscriber of everything that passes NATS reads nothing, until the server disconnects it.
    SlowConsumer,
    /// JetStream has no space for another message for some time.
    FillJetStream {
        /// The time.
        lasts: Duration,
    },
    /// Each pod is drained and started again, one after the other, as for an upgrade. No request fails meanwhile.
    RollingRestart,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage { pod, kind, lasts } if lasts.is_zero() => write!(f, "pod {pod}: {kind}"),
            Self::Outage { pod, kind, lasts } => write!(f, "pod {pod}: {kind}, at least {lasts:?}"),
            Self::SlowLink { pod, delay, lasts } => write!(f, "pod {pod}: PostgreSQL {delay:?} away for {lasts:?}"),
            Self::DropConnections { pod } => write!(f, "pod {pod}: connections to PostgreSQL closed"),
            Self::RestartPostgres { mode, away } => write!(f, "PostgreSQL stopped ({mode}) for {away:?}"),
            Self::FlushRedis => f.write_str("Redis flushed"),
            Self::RestartRedis => f.write_str("Redis restarted"),
            Self::ShiftClock { by } => write!(f, "pod {}: clock put forward by {by:?}", PODS - 1),
            Self::NatsLink { pod, link, lasts } => write!(f, "pod {pod}: connection to NATS {link} for {lasts:?}"),
            Self::RestartNats { away } => write!(f, "NATS killed for {away:?}"),
            Self::SlowConsumer => f.write_str("a subscriber of NATS reads nothing"),
            Self::FillJetStream { lasts } => write!(f, "JetStream without space for {lasts:?}"),
            Self::RollingRestart => f.write_str("every pod drained and started again, one after the other"),
        }
    }
}
