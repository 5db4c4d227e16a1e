//! What this pod observes of the others. Another pod is suspected only if this one has read the database throughout a
//! whole lease of its own clock, without a longer pause, and has seen no renewal. So no pod is suspected because the
//! database, or this pod, was away.

use std::collections::HashMap;
use std::time::Duration;

use greenroom_protocol::BootTime;
use serde::{Deserialize, Serialize};

/// How long a lease lasts without a renewal.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// The longest pause between two readings of one observation.
const READ_PAUSE_MAX: Duration = Duration::from_millis(1_800);

/// A living pod, as the tick reports it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct PeerRow {
    pub(super) id: i64,
    pub(super) renewals: i64,
    /// Until its lease expires, by the clock of the database.
    pub(super) expires_in_ms: i64,
}

/// A pod that may be declared dead, if it has not renewed its lease since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Suspect {
    pub(super) id: i64,
    pub(super) renewals: i64,
}

#[derive(Debug)]
struct Observation {
    renewals: i64,
    /// When this number of renewals was read first.
    since: BootTime,
    /// When its lease expires, as far as this clock can tell.
    expires_at: BootTime,
}

/// The observed pods.
#[derive(Debug, Default)]
pub(super) struct Peers {
    observed: HashMap<i64, Observation>,
    read_at: Option<BootTime>,
}

impl Peers {
    /// Adds a reading that was started at this time.
    pub(super) fn observe(&mut self, now: BootTime, rows: &[PeerRow]) {
        if self.read_at.is_none_or(|read_at| now.saturating_duration_since(read_at) > READ_PAUSE_MAX) {
            self.observed.clear();
        }
        self.read_at = Some(now);
        self.observed.retain(|id, _| rows.iter().any(|row| row.id == *id));
        for PeerRow { id, renewals, expires_in_ms } in rows.iter().copied() {
            let expires_at =
                now.saturating_add(Duration::from_millis(u64::try_from(expires_in_ms).unwrap_or_default()));
            let observation = self.observed.entry(id).or_insert(Observation { renewals, since: now, expires_at });
            let since = if observation.renewals == renewals { observation.since } else { now };
            *observation = Observation { renewals, since, expires_at };
        }
    }

    /// Forgets everything, because this pod was paused.
    pub(super) fn restart(&mut self) {
        self.observed.clear();
        self.read_at = None;
    }

    /// The pods that have not renewed their lease for a whole lease. The reading that this is decided in must follow at
    /// once.
    pub(super) fn suspects(&self, now: BootTime) -> Vec<Suspect> {
        let is_continuous =
            self.read_at.is_some_and(|read_at| now.saturating_duration_since(read_at) <= READ_PAUSE_MAX);
        let suspected = |(id, observation): (&i64, &Observation)| {
            let is_silent = now.saturating_duration_since(observation.since) >= LEASE;
            (is_continuous && is_silent).then_some(Suspect { id: *id, renewals: observation.renewals })
        };
        self.observed.iter().filter_map(suspected).collect()
    }

    /// The time until the next pod may be suspected.
    pub(super) fn next_delay(&self, now: BootTime) -> Option<Duration> {
        let next = |observation: &Observation| observation.since.saturating_add(LEASE).max(observation.expires_at);
        let next_at = self.observed.values().map(next).filter(|at| *at > now).min();
        next_at.map(|at| at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moment after this many seconds; a lease has three.
    fn after(seconds: u64) -> BootTime {
        BootTime::from_duration(Duration::from_secs(seconds))
    }

    fn row(renewals: i64) -> [PeerRow; 1] {
        [PeerRow { id: 7, renewals, expires_in_ms: 0 }]
    }

    #[test]
    fn a_pod_is_suspected_after_a_whole_lease_without_a_renewal() {
        let mut peers = Peers::default();
        for second in 0..3 {
            peers.observe(after(second), &row(1));
            assert_eq!(peers.suspects(after(second)), []);
        }
        assert_eq!(peers.next_delay(after(2)), Some(Duration::from_secs(1)));
        assert_eq!(peers.suspects(after(3)), [Suspect { id: 7, renewals: 1 }]);
        peers.observe(after(3), &row(2));
        assert_eq!(peers.suspects(after(3)), [], "it has renewed its lease");
    }

    #[test]
    fn an_observer_that_has_not_read_throughout_suspects_no_pod() {
        let mut peers = Peers::default();
        peers.observe(after(0), &row(1));
        assert_eq!(peers.suspects(after(3)), [], "the database, or the machine of this pod, was away");
        peers.observe(after(3), &row(1));
        assert_eq!(peers.suspects(after(3)), [], "the observation begins anew");
        peers.observe(after(4), &row(1));
        peers.restart();
        assert_eq!(peers.suspects(after(6)), []);
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let mut peers = Peers::default();
        peers.observe(after(0), &row(1));
        peers.observe(after(1), &[]);
        peers.observe(after(2), &row(1));
        assert_eq!(peers.suspects(after(3)), []);
    }
}
