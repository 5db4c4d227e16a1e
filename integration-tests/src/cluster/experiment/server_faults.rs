//! Faults of the servers, and of the connections of a pod to NATS.

use std::time::Duration;

use anyhow::Context;
use greenroom_protocol::subject::DEFAULT_PREFIX;
use tokio::time::sleep;

use super::Experiment;
use crate::cluster::fault::PODS;
use crate::cluster::nats::OwnNats;
use crate::cluster::pod_process::START_MAX;
use crate::cluster::postgres_server::StopMode;
use crate::cluster::proxy::Link;
use crate::cluster::servers::OwnServers;
use crate::cluster::starvation::DatabaseAbsence;
use crate::jetstream::wait_root_copied;
use crate::wait::wait_until;

/// The number of the last record of the root chain of the audit.
const LAST_ROOT: &str = "SELECT coalesce(max(number), 0) FROM audit_root";
/// Longest wait for its copy: a pod tries every ten seconds.
const COPY_WAIT_MAX: Duration = Duration::from_secs(90);

impl Experiment<'_> {
    pub(super) fn own_servers(&mut self) -> anyhow::Result<&mut OwnServers> {
        self.servers.own.as_mut().context("the servers belong to a script")
    }

    pub(super) fn own_nats(&mut self) -> anyhow::Result<&mut OwnNats> {
        self.own_servers()?.nats.as_mut().context("the pods do not use NATS")
    }

    pub(super) async fn restart_postgres(&mut self, mode: StopMode, away: Duration) -> anyhow::Result<()> {
        let (observer, clock) = (self.observer, self.clock);
        let from = clock.now();
        let postgres = &self.own_servers()?.postgres;
        postgres.stop(mode).await?;
        sleep(away).await;
        let until = clock.now();
        postgres.start_again().await?;
        self.absences.push(DatabaseAbsence { from, until });
        wait_until("PostgreSQL replies", START_MAX, || async { observer.poll().await.ok() }).await?;
        for pod in 0..PODS {
            // No pod dies of it, so each has the row that it had.
            self.wait_recovered(pod, 0).await?;
        }
        Ok(())
    }

    pub(super) async fn restart_nats(&mut self, away: Duration) -> anyhow::Result<()> {
        self.own_nats()?.kill()?;
        sleep(away).await;
        self.own_nats()?.restart().await?;
        self.wait_serving_over_nats().await
    }

    /// Disturbs the connection of a pod to NATS for some time.
    pub(super) async fn disturb_nats(&mut self, pod: usize, link: Link, lasts: Duration) -> anyhow::Result<()> {
        self.cluster.nats_link(pod)?.set(link);
        sleep(lasts).await;
        self.cluster.nats_link(pod)?.set(Link::Open);
        self.wait_serving_over_nats().await
    }

    pub(super) async fn fill_jetstream(&mut self, lasts: Duration) -> anyhow::Result<()> {
        self.own_nats()?.fill_jetstream().await?;
        sleep(lasts).await;
        let last: i64 = sqlx::query_scalar(LAST_ROOT).fetch_one(&self.cluster.pool()).await?;
        let nats = self.own_nats()?;
        nats.empty_jetstream().await?;
        // What the pods could not copy is made up for.
        wait_root_copied(&nats.url(), DEFAULT_PREFIX, u64::try_from(last)?, COPY_WAIT_MAX).await
    }

    /// Waits until every pod, and that of the second cluster, serves over NATS, if the pods use it.
    pub(super) async fn wait_serving_over_nats(&self) -> anyhow::Result<()> {
        match self.servers.own.as_ref().and_then(|own| own.nats.as_ref()) {
            Some(nats) => nats.wait_serving(PODS + usize::from(self.cluster.foreign().is_some())).await,
            None => Ok(()),
        }
    }
}
