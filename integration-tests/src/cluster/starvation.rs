//! Pods that were declared dead although nothing was done to them. On a machine that is too busy, a pod may get no time to
//! renew its lease: its death is right then, and everything that is promised after a death is. It is wrong if the pod had
//! renewed its lease, or could not because PostgreSQL was away; and a pod whose process had ended has crashed.

use std::time::Duration;

use super::exits::ProcessExit;
use super::history::{OutageKind, PodDeath, PodFault};
use super::moment::Moment;

/// How long a lease lasts; no pod may be declared dead before others have seen no renewal for this long.
const LEASE: Duration = Duration::from_secs(3);

/// A time in which PostgreSQL was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseAbsence {
    /// When it was stopped.
    pub from: Moment,
    /// When it was started again. No pod could read it before that.
    pub until: Moment,
}

/// The faults of the pods that had no time to renew their leases, beside these faults.
#[must_use]
pub fn starvation_faults(
    deaths: &[PodDeath],
    faults: &[PodFault],
    absences: &[DatabaseAbsence],
    exits: &[ProcessExit],
) -> Vec<PodFault> {
    let is_unexplained = |death: &&PodDeath| faults.iter().all(|fault| fault.pod != death.pod);
    let is_alive = |death: &&PodDeath| !exits.iter().any(|exit| is_exit_of(exit, death));
    let starved = deaths.iter().filter(is_unexplained).filter(is_alive).filter(|death| is_starved(death, absences));
    let fault = |death: &PodDeath| PodFault {
        pod: death.pod,
        kind: OutageKind::Starvation,
        at: death.window.absent_at,
        healed_at: Some(death.window.present_at),
        trees: death.trees.clone(),
    };
    starved.map(fault).collect()
}

/// True if the process of the pod had ended between its last renewal and its death.
fn is_exit_of(exit: &ProcessExit, death: &PodDeath) -> bool {
    // The number of the start follows the name.
    let is_its_pod = death.name.strip_prefix(&exit.pod).is_some_and(|rest| rest.starts_with('-'));
    is_its_pod && (death.renewed_after..=death.window.present_at).contains(&exit.at)
}

/// True if others could read the row of the pod for a whole lease, and saw no renewal.
fn is_starved(death: &PodDeath, absences: &[DatabaseAbsence]) -> bool {
    let died_at = death.window.present_at;
    let returns = absences.iter().map(|absence| absence.until).filter(|until| *until <= died_at);
    let readable_since = returns.max().unwrap_or_default();
    died_at.since(death.renewed_after.max(readable_since)) >= LEASE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::moment::Window;

    fn at(millis: u64) -> Moment {
        Moment(millis * 1_000)
    }

    fn death(renewed_after: u64, died_at: u64) -> PodDeath {
        PodDeath {
            pod: 7,
            name: "pod-a-1".to_owned(),
            window: Window { absent_at: at(died_at - 30), present_at: at(died_at) },
            renewed_after: at(renewed_after),
            trees: Vec::new(),
        }
    }

    #[test]
    fn only_a_pod_without_a_renewal_for_a_lease_was_starved() {
        let starved = starvation_faults(&[death(1_000, 4_100)], &[], &[], &[]);
        assert_eq!(starved.iter().map(|fault| (fault.pod, fault.at)).collect::<Vec<_>>(), [(7, at(4_070))]);
        assert!(starvation_faults(&[death(1_000, 3_900)], &[], &[], &[]).is_empty());
        // The harness has stopped it: its death is explained.
        assert!(starvation_faults(&[death(1_000, 4_100)], &starved, &[], &[]).is_empty());
    }

    #[test]
    fn a_pod_whose_process_had_ended_has_crashed() {
        let exit = |pod: &str, millis| [ProcessExit { pod: pod.to_owned(), at: at(millis) }];
        let starved = |exits: &[ProcessExit]| starvation_faults(&[death(1_000, 4_100)], &[], &[], exits).len();
        assert_eq!(starved(&exit("pod-a", 1_100)), 0);
        // It is another pod, or an earlier start, or the process has ended because it was dead.
        assert_eq!(
            [exit("pod-b", 1_100), exit("pod-a", 900), exit("pod-a", 4_200)].map(|exits| starved(&exits)),
            [1; 3]
        );
    }

    #[test]
    fn the_absence_of_the_database_is_no_reason_for_a_death() {
        let absence = [DatabaseAbsence { from: at(1_200), until: at(4_700) }];
        assert!(starvation_faults(&[death(1_000, 5_000)], &[], &absence, &[]).is_empty());
        assert_eq!(starvation_faults(&[death(1_000, 7_800)], &[], &absence, &[]).len(), 1);
        // It was away only later.
        let absence = [DatabaseAbsence { from: at(4_200), until: at(6_000) }];
        assert_eq!(starvation_faults(&[death(1_000, 4_100)], &[], &absence, &[]).len(), 1);
    }
}
