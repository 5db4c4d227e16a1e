//! The lease of a pod: until when it lasts, and what it allows at a moment. The clock decides at the moment of each act,
//! since a process that was stopped, and a machine that was suspended, may have lost the lease without a notification.

use std::sync::Arc;

use greenroom_protocol as protocol;
use protocol::{BootTime, Clock};
use tokio::sync::watch;

/// The lease of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodLease {
    /// No other pod can use the store, so it never ends.
    Unlimited,
    /// It was renewed, and lasts until this moment.
    Until(BootTime),
    /// Another pod has declared this one dead.
    Lost,
}

/// What the lease of a pod allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// Everything.
    Live,
    /// No renewal was acknowledged for a whole lease. Nothing that has an effect outside may begin until one is.
    Lapsed,
    /// Nothing: nothing of the pod is written any more, and others continue its runs.
    Dead,
}

impl PodLease {
    /// What it allows at this moment.
    #[must_use]
    pub fn status_at(self, now: BootTime) -> LeaseStatus {
        match self {
            Self::Unlimited => LeaseStatus::Live,
            Self::Until(until) if now < until => LeaseStatus::Live,
            Self::Until(_) => LeaseStatus::Lapsed,
            Self::Lost => LeaseStatus::Dead,
        }
    }
}

/// The lease of a pod, as the parts of its process see it, with the clock that measures it.
#[derive(Clone)]
pub struct LeaseWatch {
    lease: watch::Receiver<PodLease>,
    /// None for a lease that never ends.
    clock: Option<Arc<dyn Clock>>,
}

impl LeaseWatch {
    /// A lease that is measured by this clock.
    #[must_use]
    pub const fn new(lease: watch::Receiver<PodLease>, clock: Arc<dyn Clock>) -> Self {
        Self { lease, clock: Some(clock) }
    }

    /// A lease that never ends, and is measured by no clock.
    #[must_use]
    pub const fn unlimited(lease: watch::Receiver<PodLease>) -> Self {
        Self { lease, clock: None }
    }

    fn now(&self) -> BootTime {
        self.clock.as_ref().map_or(BootTime::MAX, |clock| clock.boot_time())
    }

    /// What the lease allows at this moment.
    #[must_use]
    pub fn status(&self) -> LeaseStatus {
        let lease = *self.lease.borrow();
        lease.status_at(self.now())
    }

    /// Waits for the next renewal, or for the end of the lease. False if the store was dropped.
    pub async fn changed(&mut self) -> bool {
        self.lease.changed().await.is_ok()
    }

    /// Waits as long as the lease has lapsed. It has still lapsed then only if the store was dropped.
    pub async fn wait(&mut self) -> LeaseStatus {
        loop {
            let current = *self.lease.borrow_and_update();
            let status = current.status_at(self.now());
            if status != LeaseStatus::Lapsed || !self.changed().await {
                return status;
            }
        }
    }

    /// Waits until another pod has declared this one dead. False if the store was dropped before.
    pub async fn wait_lost(&mut self) -> bool {
        self.lease.wait_for(|lease| *lease == PodLease::Lost).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::suite::SuspendedClock;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_lease_lapses_by_the_clock_and_not_by_a_notification() {
        let clock = Arc::new(SuspendedClock::default());
        let until = clock.boot_time().saturating_add(HOUR);
        let lease = watch::Sender::new(PodLease::Until(until));
        let watched = LeaseWatch::new(lease.subscribe(), clock.clone());
        assert_eq!(watched.status(), LeaseStatus::Live);
        clock.suspend(HOUR);
        assert_eq!(watched.status(), LeaseStatus::Lapsed);
        assert_eq!(PodLease::Until(until).status_at(until), LeaseStatus::Lapsed);
        lease.send_replace(PodLease::Lost);
        assert_eq!(watched.status(), LeaseStatus::Dead);
    }

    #[tokio::test]
    async fn what_waits_for_a_lapsed_lease_continues_with_its_renewal_or_its_end() {
        let clock = Arc::new(SuspendedClock::default());
        let renewed = || PodLease::Until(clock.boot_time().saturating_add(HOUR));
        let lease = watch::Sender::new(renewed());
        let mut watched = LeaseWatch::new(lease.subscribe(), clock.clone());
        assert_eq!(watched.wait().await, LeaseStatus::Live);
        for is_renewed in [true, false] {
            clock.suspend(HOUR);
            let mut waiting = Box::pin(watched.wait());
            assert!(futures::poll!(&mut waiting).is_pending(), "nothing is released");
            lease.send_replace(if is_renewed { renewed() } else { PodLease::Lost });
            assert_eq!(waiting.await, if is_renewed { LeaseStatus::Live } else { LeaseStatus::Dead });
        }
    }
}
