//! Faults of a pod: it is taken out of action until the others have noticed, or drained, and then brought back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::{Instant, sleep};

use super::Experiment;
use crate::cluster::fault::PODS;
use crate::cluster::history::{OutageKind, PodFault};
use crate::cluster::pod_process::START_MAX;
use crate::cluster::proxy::Link;
use crate::wait::wait_until;

/// Bounds of waits that only end a run of the harness that would hang.
const DEATH_WAIT_MAX: Duration = Duration::from_secs(60);
const RESUMPTION_WAIT_MAX: Duration = Duration::from_secs(60);
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(120);
/// How long a pod with work is waited for before one without any fails.
const WORK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Interval between two looks at a pod that starts or ends.
const PROCESS_INTERVAL: Duration = Duration::from_millis(50);

impl Experiment<'_> {
    /// Takes a pod out of action until its death is declared and others have resumed its trees, and brings it back.
    pub(super) async fn take_out(&mut self, pod: usize, kind: OutageKind, lasts: Duration) -> anyhow::Result<()> {
        let observer = self.observer;
        let pod = self.find_working(pod).await?;
        let row = self.live_row(pod).await?;
        let at = self.clock.now();
        self.begin_outage(pod, kind)?;
        let trees = observer.owned_trees(row).await?;
        self.faults.push(PodFault { pod: row, kind, at, healed_at: None, trees: trees.clone() });
        let is_dead = || async { observer.is_dead(row).then_some(()) };
        wait_until("another pod declares it dead", DEATH_WAIT_MAX, is_dead).await?;
        let are_resumed = || async { trees.iter().all(|tree| observer.has_progressed(tree)).then_some(()) };
        wait_until("others resume its runs", RESUMPTION_WAIT_MAX, are_resumed).await?;
        sleep(lasts.saturating_sub(self.clock.now().since(at))).await;
        let healed_at = self.clock.now();
        self.end_outage(pod, kind)?;
        if let Some(fault) = self.faults.last_mut() {
            fault.healed_at = Some(healed_at);
        }
        self.wait_recovered(pod, row).await
    }

    /// Drains each pod and starts it again, one after the other, while short requests are sent.
    pub(super) async fn restart_rolling(&mut self) -> anyhow::Result<()> {
        self.wait_serving_over_nats().await?;
        let (load, is_over) = (self.load, AtomicBool::new(false));
        let restarting = async {
            let restarted = Box::pin(self.drain_each()).await;
            is_over.store(true, Ordering::Release);
            restarted
        };
        let (counts, restarted) = tokio::join!(load.send_probes(&is_over), restarting);
        self.drains.add(counts);
        restarted
    }

    async fn drain_each(&mut self) -> anyhow::Result<()> {
        for pod in 0..PODS {
            self.drain(pod).await?;
            self.wait_serving_over_nats().await?;
        }
        Ok(())
    }

    /// Ends a pod as a service manager does, and starts it again.
    async fn drain(&mut self, pod: usize) -> anyhow::Result<()> {
        let observer = self.observer;
        let row = self.live_row(pod).await?;
        self.cluster.pod(pod)?.signal("TERM")?;
        let give_up_at = Instant::now() + DRAIN_WAIT_MAX;
        while !self.cluster.pod(pod)?.has_ended()? {
            let process = self.cluster.pod(pod)?;
            ensure!(Instant::now() < give_up_at, "the pod {} does not drain: {}", process.name(), process.log_end());
            sleep(PROCESS_INTERVAL).await;
        }
        let death = || async { observer.death(row) };
        let death = wait_until("the pod has left the database", DEATH_WAIT_MAX, death).await?;
        // Until it left, it continued its runs.
        let (at, trees) = (death.window.absent_at, death.trees);
        self.faults.push(PodFault { pod: row, kind: OutageKind::Drain, at, healed_at: None, trees });
        self.cluster.pod(pod)?.spawn()?;
        self.wait_recovered(pod, row).await
    }

    /// The row of the living start of a pod.
    async fn live_row(&mut self, pod: usize) -> anyhow::Result<i64> {
        let observer = self.observer;
        let name = self.cluster.pod(pod)?.name().to_owned();
        wait_until("the pod has a lease", START_MAX, || async { observer.live_pod(&name) }).await
    }

    /// This pod, or the next one that has work, so that the fault interrupts something.
    async fn find_working(&mut self, preferred: usize) -> anyhow::Result<usize> {
        let observer = self.observer;
        let mut candidates = Vec::new();
        for pod in (preferred..PODS).chain(0..preferred) {
            candidates.push((pod, self.cluster.pod(pod)?.name().to_owned()));
        }
        let has_work = |name: &str| observer.live_pod(name).is_some_and(|row| observer.has_work(row));
        let find = || {
            let working = candidates.iter().find(|(_, name)| has_work(name)).map(|(pod, _)| *pod);
            async move { working }
        };
        Ok(wait_until("a pod has work", WORK_WAIT_MAX, find).await.unwrap_or(preferred))
    }

    fn begin_outage(&mut self, pod: usize, kind: OutageKind) -> anyhow::Result<()> {
        match kind {
            OutageKind::Kill => return self.cluster.pod(pod)?.kill(),
            OutageKind::Freeze => return self.cluster.pod(pod)?.signal("STOP"),
            OutageKind::Cut => self.cluster.link(pod)?.set(Link::Cut),
            OutageKind::Silence => self.cluster.link(pod)?.set(Link::Silent),
            OutageKind::Drain | OutageKind::Starvation => bail!("{kind} is no sudden outage"),
        }
        Ok(())
    }

    fn end_outage(&mut self, pod: usize, kind: OutageKind) -> anyhow::Result<()> {
        match kind {
            OutageKind::Kill => return self.cluster.pod(pod)?.spawn(),
            OutageKind::Freeze => return self.cluster.pod(pod)?.signal("CONT"),
            OutageKind::Cut | OutageKind::Silence => self.cluster.link(pod)?.set(Link::Open),
            OutageKind::Drain | OutageKind::Starvation => {}
        }
        Ok(())
    }

    /// Waits until a pod serves as another start than the one with this row. A process that has ended is started again,
    /// as a service manager does.
    pub(super) async fn wait_recovered(&mut self, pod: usize, dead: i64) -> anyhow::Result<()> {
        let observer = self.observer;
        let give_up_at = Instant::now() + START_MAX;
        loop {
            let process = self.cluster.pod(pod)?;
            if process.has_ended()? {
                process.spawn()?;
            }
            let has_lease = observer.live_pod(process.name()).is_some_and(|row| row > dead);
            if has_lease && process.is_serving().await {
                return Ok(());
            }
            let name = process.name();
            ensure!(Instant::now() < give_up_at, "the pod {name} does not recover: {}", process.log_end());
            sleep(PROCESS_INTERVAL).await;
        }
    }
}
