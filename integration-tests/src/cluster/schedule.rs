//! Which faults there are in a run of the harness, and when: a list that its seed determines. A fault follows once a
//! number of calls has reached the model, and not after a time, so that there is always work that it interrupts.

use std::time::Duration;

use super::choices::Choices;
use super::fault::{Fault, PODS};
use super::history::OutageKind;
use super::postgres_server::StopMode;
use super::proxy::Link;
use super::workload::Workload;

/// Runs of a short form.
const RUNS_SHORT: usize = 35;
/// How long a frozen pod remains so in the long form: long after its lease, its peers and its callers have given up.
const FREEZE_DURATION: Duration = Duration::from_secs(10);
/// How long PostgreSQL is away: longer than a lease.
const POSTGRES_AWAY: Duration = Duration::from_millis(3_500);
/// What a slow link adds to each piece of a message, and for how long.
const LINK_DELAY: Duration = Duration::from_millis(25);
const SLOW_LINK_DURATION: Duration = Duration::from_secs(5);
/// How far a clock is put forward.
const CLOCK_SHIFT: Duration = Duration::from_secs(40);
/// How long NATS is away, for all pods and for one, and how long JetStream is full. A client sends its request again after
/// three seconds.
const NATS_AWAY: Duration = Duration::from_millis(1_500);
/// How long it is away until pods take the sessions with each other for lost, which they do after 15 s, and dial in vain.
const NATS_AWAY_LONG: Duration = Duration::from_secs(19);
const NATS_LINK_SHORT: Duration = Duration::from_millis(3_500);
const NATS_LINK_LONG: Duration = Duration::from_secs(8);
const JETSTREAM_FULL_SHORT: Duration = Duration::from_secs(2);
/// Longer than the interval in which the root chain of the audit is copied.
const JETSTREAM_FULL_LONG: Duration = Duration::from_secs(12);

/// Runs that are started together, and the fault that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledFault {
    /// The number of runs.
    pub runs: usize,
    /// The number of calls that have reached the model since then.
    pub after_calls: usize,
    /// The fault.
    pub fault: Fault,
}

/// The faults of a run of the harness, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The seed.
    pub seed: u64,
    /// What the runs do.
    pub workload: Workload,
    /// The faults.
    pub faults: Vec<ScheduledFault>,
}

impl Schedule {
    /// A few dozen runs, and one fault of most kinds. No outage is longer than it takes the others to notice it.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let mut choices = Choices::from_seed(seed);
        let outages = [OutageKind::Kill, OutageKind::Freeze, cut(&mut choices)];
        let mut faults = outages.map(|kind| outage(&mut choices, kind, Duration::ZERO)).to_vec();
        let restart = Fault::RestartPostgres { mode: stop_mode(&mut choices), away: POSTGRES_AWAY };
        let dropped = Fault::DropConnections { pod: choices.index_below(PODS) };
        faults.extend([restart, dropped, Fault::FlushRedis, Fault::ShiftClock { by: CLOCK_SHIFT }]);
        Self::shuffled(seed, choices, faults, RUNS_SHORT)
    }

    /// As [`Schedule::short`], for pods that receive their requests over NATS: the faults of NATS, and those of pods that
    /// their clients notice.
    #[must_use]
    pub fn short_over_nats(seed: u64) -> Self {
        let mut choices = Choices::from_seed(seed);
        let mut faults =
            [OutageKind::Kill, OutageKind::Freeze].map(|kind| outage(&mut choices, kind, Duration::ZERO)).to_vec();
        let link = if choices.number_below(2) == 0 { Link::Cut } else { Link::Silent };
        faults.extend([
            Fault::NatsLink { pod: choices.index_below(PODS), link, lasts: NATS_LINK_SHORT },
            Fault::RestartNats { away: NATS_AWAY },
            Fault::SlowConsumer,
            Fault::FillJetStream { lasts: JETSTREAM_FULL_SHORT },
            Fault::RollingRestart,
        ]);
        Self::shuffled(seed, choices, faults, RUNS_SHORT).with_placed()
    }

    /// This many runs, and several faults of every kind that needs no NATS.
    #[must_use]
    pub fn long(seed: u64, runs: usize) -> Self {
        let mut choices = Choices::from_seed(seed);
        let faults = long_faults(&mut choices);
        Self::shuffled(seed, choices, faults, runs)
    }

    /// As [`Schedule::long`], for pods that receive their requests over NATS, with its faults too.
    #[must_use]
    pub fn long_over_nats(seed: u64, runs: usize) -> Self {
        let mut choices = Choices::from_seed(seed);
        let mut faults = long_faults(&mut choices);
        for link in [Link::Cut, Link::Cut, Link::Silent, Link::Silent, Link::Delayed(LINK_DELAY)] {
            faults.push(Fault::NatsLink { pod: choices.index_below(PODS), link, lasts: NATS_LINK_LONG });
        }
        faults.extend([
            Fault::RestartNats { away: Duration::ZERO },
            Fault::RestartNats { away: NATS_AWAY },
            Fault::RestartNats { away: NATS_AWAY_LONG },
            Fault::SlowConsumer,
            Fault::FillJetStream { lasts: JETSTREAM_FULL_LONG },
            Fault::RollingRestart,
            Fault::RollingRestart,
        ]);
        Self::shuffled(seed, choices, faults, runs).with_placed()
    }

    /// This many runs of one kind, and a pod that is killed while they run.
    #[must_use]
    pub fn demo(seed: u64, runs: usize) -> Self {
        let fault = Fault::Outage { pod: 1, kind: OutageKind::Kill, lasts: Duration::ZERO };
        Self { seed, workload: Workload::Rows, faults: vec![ScheduledFault { runs, after_calls: runs, fault }] }
    }

    /// The number of runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.faults.iter().map(|scheduled| scheduled.runs).sum()
    }

    /// The same with runs that call agents on pods with a label.
    fn with_placed(self) -> Self {
        Self { workload: Workload::MixedWithPlaced, ..self }
    }

    /// Divides the runs over the faults, in any order.
    fn shuffled(seed: u64, mut choices: Choices, mut faults: Vec<Fault>, runs: usize) -> Self {
        choices.shuffle(&mut faults);
        let (share, rest) = (runs / faults.len().max(1), runs % faults.len().max(1));
        let scheduled = faults.into_iter().enumerate().map(|(index, fault)| {
            let runs = share + usize::from(index < rest);
            // Nearly every run makes several calls, so the number is reached while most of the work is left.
            ScheduledFault { runs, after_calls: 1 + choices.index_below(runs / 2), fault }
        });
        Self { seed, workload: Workload::Mixed, faults: scheduled.collect() }
    }
}

/// The faults of a long form that need no NATS.
fn long_faults(choices: &mut Choices) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (kind, lasts, count) in [
        (OutageKind::Kill, Duration::ZERO, 3),
        (OutageKind::Freeze, FREEZE_DURATION, 2),
        (OutageKind::Cut, Duration::ZERO, 2),
        (OutageKind::Silence, Duration::ZERO, 2),
    ] {
        faults.extend((0..count).map(|_| outage(choices, kind, lasts)));
    }
    faults.extend((0..4).map(|_| Fault::DropConnections { pod: choices.index_below(PODS) }));
    let slow = choices.index_below(PODS);
    faults.extend([
        Fault::SlowLink { pod: slow, delay: LINK_DELAY, lasts: SLOW_LINK_DURATION },
        Fault::RestartPostgres { mode: StopMode::Fast, away: POSTGRES_AWAY },
        Fault::RestartPostgres { mode: StopMode::Immediate, away: Duration::ZERO },
        Fault::FlushRedis,
        Fault::FlushRedis,
        Fault::RestartRedis,
        Fault::ShiftClock { by: CLOCK_SHIFT },
    ]);
    faults
}

fn outage(choices: &mut Choices, kind: OutageKind, lasts: Duration) -> Fault {
    Fault::Outage { pod: choices.index_below(PODS), kind, lasts }
}

fn cut(choices: &mut Choices) -> OutageKind {
    if choices.number_below(2) == 0 { OutageKind::Cut } else { OutageKind::Silence }
}

fn stop_mode(choices: &mut Choices) -> StopMode {
    if choices.number_below(2) == 0 { StopMode::Fast } else { StopMode::Immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_schedule_and_another_seed_has_another() {
        assert_eq!(Schedule::short(5), Schedule::short(5));
        assert_ne!(Schedule::short(5).faults, Schedule::short(6).faults);
        assert_eq!(Schedule::long(5, 1_000), Schedule::long(5, 1_000));
        assert_eq!(Schedule::short_over_nats(5), Schedule::short_over_nats(5));
        assert_eq!(Schedule::long_over_nats(5, 1_000), Schedule::long_over_nats(5, 1_000));
    }

    #[test]
    fn every_schedule_has_all_its_runs_and_a_fault_that_is_due_before_they_end() {
        for seed in 0..50 {
            let short = [Schedule::short(seed), Schedule::short_over_nats(seed)].map(|short| (short, RUNS_SHORT));
            let long = [Schedule::long(seed, 1_000), Schedule::long_over_nats(seed, 1_000)].map(|long| (long, 1_000));
            for (schedule, runs) in short.into_iter().chain(long) {
                assert_eq!(schedule.runs(), runs);
                assert!(schedule.faults.iter().all(|each| each.after_calls <= each.runs.max(1)), "{schedule:?}");
            }
        }
    }

    #[test]
    fn the_short_schedule_kills_freezes_and_cuts_a_pod_each() {
        for seed in 0..50 {
            let faults = Schedule::short(seed).faults;
            let has = |wanted: fn(&Fault) -> bool| faults.iter().filter(|each| wanted(&each.fault)).count() == 1;
            assert!(has(|fault| matches!(fault, Fault::Outage { kind: OutageKind::Kill, .. })));
            assert!(has(|fault| matches!(fault, Fault::Outage { kind: OutageKind::Freeze, .. })));
            assert!(has(|fault| {
                matches!(fault, Fault::Outage { kind: OutageKind::Cut | OutageKind::Silence, .. })
            }));
            assert!(has(|fault| matches!(fault, Fault::RestartPostgres { .. })));
            assert!(has(|fault| matches!(fault, Fault::FlushRedis)));
        }
    }

    #[test]
    fn the_schedules_over_nats_have_every_fault_of_nats() {
        for seed in 0..50 {
            for schedule in [Schedule::short_over_nats(seed), Schedule::long_over_nats(seed, 1_000)] {
                let has = |wanted: fn(&Fault) -> bool| schedule.faults.iter().any(|each| wanted(&each.fault));
                assert!(has(|fault| matches!(fault, Fault::Outage { kind: OutageKind::Kill, .. })));
                assert!(has(|fault| matches!(fault, Fault::Outage { kind: OutageKind::Freeze, .. })));
                assert!(has(|fault| matches!(fault, Fault::NatsLink { link: Link::Cut | Link::Silent, .. })));
                assert!(has(|fault| matches!(fault, Fault::RestartNats { .. })));
                assert!(has(|fault| matches!(fault, Fault::SlowConsumer)));
                assert!(has(|fault| matches!(fault, Fault::FillJetStream { .. })));
                assert!(has(|fault| matches!(fault, Fault::RollingRestart)));
            }
        }
    }
}
