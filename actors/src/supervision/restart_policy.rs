//! The restart policies: one row for each kind of child, actors and background services alike.
//!
//! Each row has a reader: the supervisor of its kind. That of a run is recovery, which resumes its tree from the
//! journals: the supervisor of the runs never starts an actor again.

use std::time::Duration;

/// The kinds of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// The supervisor of the guard.
    GuardSupervisor,
    /// One worker of the guard.
    GuardWorker,
    /// The supervisor of one category of agents.
    Category,
    /// One version of one agent.
    Agent,
    /// The supervisor of all teams.
    TeamSupervisor,
    /// One running team.
    Team,
    /// The supervisor of the members of one team.
    Members,
    /// The supervisor of all runs.
    RunSupervisor,
    /// One run of a workflow.
    Run,
    /// The service that writes the audit and all other stores.
    AuditWriter,
    /// The service that watches the files of definitions and policy.
    Watcher,
    /// A service that does periodic work: recovery, sweeping, settling, rates.
    Periodic,
    /// The service that serves the metrics.
    Metrics,
    /// The service that is connected to the servers of tools.
    ToolServers,
    /// An ingress of the pod.
    Ingress,
}

/// When a child that has ended is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartMode {
    /// Always.
    Permanent,
    /// Unless it stopped by itself.
    Transient,
}

/// The measure if a child exceeds its restart intensity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMaxRestarts {
    /// Its queue rejects jobs until the cooldown ends. A service is started again after the cooldown.
    OpenCircuit {
        /// Duration of the cooldown.
        cooldown: Duration,
    },
    /// Its supervisor fails, and the restart policy of that supervisor decides.
    Escalate,
    /// The run that it serves ends, with a retryable cause.
    EndRun,
    /// It is not started again. Its work has not ended: it is dead until a user retries or cancels it.
    GiveUp,
    /// The pod stops with an exit code of its own.
    StopPod,
}

/// The delay before a restart, doubled with each restart inside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The delay before the first restart.
    pub first: Duration,
    /// The longest delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay before restart number `restarts` (1 for the first) inside the window.
    #[must_use]
    pub fn delay_before(&self, restarts: u32) -> Duration {
        let doublings = restarts.saturating_sub(1).min(20);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The restart mode.
    pub mode: RestartMode,
    /// Maximum restarts inside the window.
    pub restarts_max: u32,
    /// Duration within which restarts count.
    pub window: Duration,
    /// Delay before a restart.
    pub backoff: Backoff,
    /// How long a child may take none of the jobs that wait for it; after it the child is stalled. `None` if it has no
    /// job queue.
    pub stalled_after: Option<Duration>,
    /// The measure if the maximum is exceeded.
    pub on_max_restarts: OnMaxRestarts,
}

/// For children that every request needs.
const FAST_BACKOFF: Backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(100) };
/// For children that the input of one caller may have made fail.
const SLOW_BACKOFF: Backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_secs(1) };
/// For runs, which recovery resumes.
const RECOVERY_BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
/// Recovery resumes the run's tree. The failures without progress since are counted in its record, and have no window.
const RUN_POLICY: RestartPolicy = RestartPolicy {
    mode: RestartMode::Transient,
    restarts_max: 5,
    window: Duration::MAX,
    backoff: RECOVERY_BACKOFF,
    stalled_after: None,
    on_max_restarts: OnMaxRestarts::GiveUp,
};

impl ChildKind {
    /// The restart policy of this kind. The match is exhaustive, so a new kind needs a row.
    #[must_use]
    pub const fn restart_policy(self) -> RestartPolicy {
        match self {
            Self::GuardWorker => RestartPolicy {
                mode: RestartMode::Permanent,
                restarts_max: 20,
                window: Duration::from_secs(10),
                backoff: FAST_BACKOFF,
                stalled_after: Some(Duration::from_secs(1)),
                on_max_restarts: OnMaxRestarts::Escalate,
            },
            Self::GuardSupervisor => RestartPolicy {
                mode: RestartMode::Permanent,
                restarts_max: 3,
                window: Duration::from_secs(60),
                backoff: FAST_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            Self::AuditWriter => RestartPolicy {
                mode: RestartMode::Permanent,
                restarts_max: 0,
                window: Duration::from_secs(60),
                backoff: FAST_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            Self::Category | Self::TeamSupervisor | Self::RunSupervisor | Self::Ingress => RestartPolicy {
                mode: RestartMode::Permanent,
                restarts_max: 5,
                window: Duration::from_secs(60),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::StopPod,
            },
            // The pod works without them, on the state of their last success.
            Self::Watcher | Self::Periodic | Self::Metrics | Self::ToolServers => RestartPolicy {
                mode: RestartMode::Transient,
                restarts_max: 5,
                window: Duration::from_secs(60),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) },
            },
            Self::Agent => RestartPolicy {
                mode: RestartMode::Transient,
                restarts_max: 5,
                window: Duration::from_secs(30),
                backoff: SLOW_BACKOFF,
                stalled_after: Some(Duration::from_secs(10)),
                on_max_restarts: OnMaxRestarts::OpenCircuit { cooldown: Duration::from_secs(30) },
            },
            Self::Team => RestartPolicy {
                mode: RestartMode::Transient,
                restarts_max: 3,
                window: Duration::from_secs(30),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::EndRun,
            },
            Self::Run => RUN_POLICY,
            Self::Members => RestartPolicy {
                mode: RestartMode::Permanent,
                restarts_max: 3,
                window: Duration::from_secs(30),
                backoff: SLOW_BACKOFF,
                stalled_after: None,
                on_max_restarts: OnMaxRestarts::Escalate,
            },
        }
    }

    /// The kind in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GuardSupervisor => "guard_supervisor",
            Self::GuardWorker => "guard_worker",
            Self::Category => "category",
            Self::Agent => "agent",
            Self::TeamSupervisor => "team_supervisor",
            Self::Team => "team",
            Self::Members => "members",
            Self::RunSupervisor => "run_supervisor",
            Self::Run => "run",
            Self::AuditWriter => "audit_writer",
            Self::Watcher => "watcher",
            Self::Periodic => "periodic",
            Self::Metrics => "metrics",
            Self::ToolServers => "tool_servers",
            Self::Ingress => "ingress",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_maximum() {
        let backoff = Backoff { first: Duration::from_millis(10), max: Duration::from_millis(65) };
        let waits: Vec<_> = (1..=5).map(|restarts| backoff.delay_before(restarts).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 65, 65]);
        assert_eq!(backoff.delay_before(u32::MAX), backoff.max);
    }
}
