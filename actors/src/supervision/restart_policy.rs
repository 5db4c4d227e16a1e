//! The failure policy: one row for each kind of child, and nothing else.

use std::time::Duration;

/// What a parent may have as a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// Loads, swaps and supervises policy.
    GuardKeeper,
    /// One engine of the guard.
    GuardShard,
    /// The supervisor of one business category.
    Category,
    /// One version of one agent.
    Agent,
    /// The supervisor of all teams.
    Teams,
    /// One running team.
    Team,
    /// A team's shared context.
    Context,
    /// The supervisor of all runs.
    Runs,
    /// One run of a workflow.
    Run,
    /// The door through which other pods speak.
    Peer,
    /// The future that writes the audit.
    AuditWriter,
    /// The future that watches definitions and policy.
    Watcher,
    /// A door of the process.
    Ingress,
}

/// When a child that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartMode {
    /// Always.
    Permanent,
    /// Unless it stopped by itself.
    Transient,
    /// Never.
    Temporary,
}

/// What it means when a child dies more often than its rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMaxRestarts {
    /// Its slot answers `agent_circuit_open` for this long; then it may try again.
    OpenCircuit {
        /// How long it rests.
        cooldown: Duration,
    },
    /// Its parent dies, and that parent's rule decides.
    Escalate,
    /// The process ends, and its exit code says so.
    StopPod,
}

/// How long to wait before a restart: doubled with each one inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first restart.
    pub first: Duration,
    /// Never longer.
    pub max: Duration,
}

impl Backoff {
    /// The wait before the restart number `restarts` (1 for the first) inside the window.
    #[must_use]
    pub fn before(&self, restarts: u32) -> Duration {
        let doublings = restarts.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When it is started again.
    pub restart: RestartMode,
    /// Restarts inside the window; one more means giving up.
    pub restarts_max: u32,
    /// How far back deaths count.
    pub window: Duration,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// After how long an unread job means that it is frozen; `None` where it has no slot.
    pub stalled_after: Option<Duration>,
    /// What follows one restart too many.
    pub on_max_restarts: OnMaxRestarts,
}

/// At once, then slower: an engine is needed by everyone.
const FAST_BACKOFF: Backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(100) };
/// For what one caller may have broken.
const SLOW_BACKOFF: Backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_secs(1) };

impl ChildKind {
    /// The rule for this kind. A new kind cannot be added without its row.
    #[must_use]
    pub const fn rule(self) -> RestartPolicy {
        match self {
            Self::GuardShard => RestartPolicy {
                restart: RestartMode::Permanent,
                restarts_max: 20,
                window: Duration::from_secs(10),
                backoff: FAST_BACKOFF,
                stalled_after: Some(Duration::from_secs(1)),
                on_max_restarts: OnMaxRestarts::Escalate,
            },
            Self::GuardKeeper => RestartPolicy {
                restart: RestartMode::Permanent,
                restarts_max: 3,
                window: Duration::from_secs(60),
                backoff: FAST_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            Self::AuditWriter => RestartPolicy {
                restart: RestartMode::Permanent,
                restarts_max: 0,
                window: Duration::from_secs(60),
                backoff: FAST_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            Self::Category | Self::Teams | Self::Runs | Self::Ingress | Self::Watcher | Self::Peer => RestartPolicy {
                restart: RestartMode::Permanent,
                restarts_max: 5,
                window: Duration::from_secs(60),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            Self::Agent => RestartPolicy {
                restart: RestartMode::Transient,
                restarts_max: 5,
                window: Duration::from_secs(30),
                backoff: SLOW_BACKOFF,
                stalled_after: Some(Duration::from_secs(10)),
                on_max_restarts: OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) },
            },
            Self::Team | Self::Context => RestartPolicy {
                restart: RestartMode::Transient,
                restarts_max: 3,
                window: Duration::from_secs(30),
                backoff: SLOW_BACKOFF,
                stalled_after: Some(Duration::from_secs(10)),
                on_max_restarts: OnMaxRestarts::Escalate,
            },
            Self::Run => RestartPolicy {
                restart: RestartMode::Temporary,
                restarts_max: 0,
                window: Duration::from_secs(60),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::Escalate,
            },
        }
    }

    /// The kind as it is written in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GuardKeeper => "guard_keeper",
            Self::GuardShard => "guard_shard",
            Self::Category => "category",
            Self::Agent => "agent",
            Self::Teams => "teams",
            Self::Team => "team",
            Self::Context => "context",
            Self::Runs => "runs",
            Self::Run => "run",
            Self::Peer => "peer",
            Self::AuditWriter => "audit_writer",
            Self::Watcher => "watcher",
            Self::Ingress => "ingress",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_stays_below_its_bound() {
        let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(65) };
        let waits: Vec<_> = (1..=5).map(|restarts| backoff.before(restarts).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 65, 65]);
        assert_eq!(backoff.before(u32::MAX), backoff.max);
    }
}
