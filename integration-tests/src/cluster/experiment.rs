//! One run of the harness: pods, their runs, the faults of a schedule, and then the check of what was observed.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use greenroom_protocol::Json;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::checker::report::Report;
use super::checker::{Bounds, check};
use super::history::{AuditReport, History, OutageKind, PodFault};
use super::journals::read_journals;
use super::load::Load;
use super::model_log::ModelLog;
use super::moment::{HarnessClock, Moment};
use super::observer::Observer;
use super::pod_process::START_MAX;
use super::postgres_server::StopMode;
use super::proxy::Link;
use super::schedule::{Fault, PODS, Schedule};
use super::servers::{OwnServers, Servers};
use super::workload::PAYER;
use crate::wait::wait_until;

/// Bounds of waits that only end a run of the harness that would hang.
const CALLS_WAIT_MAX: Duration = Duration::from_secs(120);
const DEATH_WAIT_MAX: Duration = Duration::from_secs(60);
const RESUMPTION_WAIT_MAX: Duration = Duration::from_secs(60);
const END_WAIT_MAX: Duration = Duration::from_secs(180);
/// Interval between two looks at a pod that starts again.
const RECOVERY_INTERVAL: Duration = Duration::from_millis(50);
/// The file of the public key of the audit.
const PUBLIC_KEY: &str = "audit.pem";

/// Receives a line about what happens.
pub type Notes<'n> = &'n dyn Fn(&str);

/// What happens while the pods work.
struct Experiment<'e> {
    schedule: &'e Schedule,
    clock: HarnessClock,
    // The pods end before their servers.
    cluster: Cluster,
    servers: Servers,
    model: &'e ModelLog,
    observer: &'e Observer,
    load: &'e Load,
    notes: Notes<'e>,
    faults: Vec<PodFault>,
}

/// Starts the pods, applies the schedule to them, and checks what was observed. The folder with their logs remains if
/// something is wrong.
///
/// # Errors
/// If a server or a pod does not start, or something takes so long that it counts as hanging.
pub async fn run(schedule: &Schedule, servers: Servers, bounds: Bounds, notes: Notes<'_>) -> anyhow::Result<Report> {
    let clock = HarnessClock::start();
    let model = ModelLog::start(clock, schedule.seed).await?;
    let budget = schedule.workload.budget(schedule.runs());
    let cluster = Box::pin(Cluster::start(&servers, model.url(), budget)).await?;
    let observer = Observer::new(clock, cluster.pool());
    let load = Load::new(schedule.workload, &cluster.sockets())?;
    let faults = Vec::new();
    let (model, observer, load) = (&model, &observer, &load);
    let mut experiment = Experiment { schedule, clock, cluster, servers, model, observer, load, notes, faults };
    let history = Box::pin(experiment.history()).await;
    let report = history.map(|history| check(&history, bounds));
    if !report.as_ref().is_ok_and(|report| report.violations.is_empty()) {
        let folder = experiment.cluster.retain_folder();
        notes(&format!("seed {}: the logs of the pods are in {}", schedule.seed, folder.display()));
    }
    report
}

impl Experiment<'_> {
    async fn history(&mut self) -> anyhow::Result<History> {
        let accepted = self.drive_observed().await?;
        self.observer.poll().await?;
        let journals = read_journals(&self.cluster.pool(), self.observer).await?;
        let budget = self.schedule.workload.budget(self.schedule.runs());
        Ok(History {
            accepted,
            journals,
            calls: self.model.calls(),
            faults: std::mem::take(&mut self.faults),
            deaths: self.observer.deaths(),
            budgets: [(PAYER.to_owned(), budget.0)].into(),
            audit: self.verify_audit().await?,
        })
    }

    /// Starts the runs and injects the faults, while the database is observed and what waits is signed.
    async fn drive_observed(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let (observer, load) = (self.observer, self.load);
        tokio::select! {
            accepted = Box::pin(self.drive()) => accepted,
            signed = load.sign_waiting(observer) => {
                signed?;
                anyhow::bail!("nothing is signed any more")
            }
            () = observer.observe() => anyhow::bail!("nothing is observed any more"),
        }
    }

    async fn drive(&mut self) -> anyhow::Result<BTreeSet<String>> {
        self.observer.poll().await?;
        let (schedule, load, observer) = (self.schedule, self.load, self.observer);
        let (mut accepted, mut next) = (BTreeSet::new(), 0);
        for scheduled in &schedule.faults {
            let numbers = next..next + scheduled.runs;
            next = numbers.end;
            let calls = self.model.count() + scheduled.after_calls;
            let injected = Box::pin(self.inject_after(calls, scheduled.fault));
            let (started, ()) = tokio::try_join!(load.start_runs(numbers), injected)?;
            accepted.extend(started);
        }
        let have_ended = || async { observer.have_ended(&accepted).then_some(()) };
        // A run that has not ended by then is found by the checker.
        let _ = wait_until("every run ends", END_WAIT_MAX, have_ended).await;
        Ok(accepted)
    }

    /// Injects a fault once so many calls have reached the model, and waits until the pods serve again.
    async fn inject_after(&mut self, calls: usize, fault: Fault) -> anyhow::Result<()> {
        let model = self.model;
        let have_arrived = || async { (model.count() >= calls).then_some(()) };
        wait_until("calls reach the model", CALLS_WAIT_MAX, have_arrived).await.with_context(|| fault.to_string())?;
        (self.notes)(&format!("{:8.1} s  {fault}", self.seconds()));
        self.inject(fault).await.with_context(|| fault.to_string())
    }

    fn seconds(&self) -> f64 {
        self.clock.now().since(Moment::default()).as_secs_f64()
    }

    async fn inject(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Outage { pod, kind, lasts } => self.take_out(pod, kind, lasts).await,
            Fault::SlowLink { pod, delay, lasts } => {
                self.cluster.link(pod)?.set(Link::Delayed(delay));
                sleep(lasts).await;
                self.cluster.link(pod)?.set(Link::Open);
                Ok(())
            }
            Fault::DropConnections { pod } => {
                self.cluster.link(pod)?.drop_connections();
                Ok(())
            }
            Fault::RestartPostgres { mode, away } => self.restart_postgres(mode, away).await,
            Fault::FlushRedis => self.own_servers()?.redis.flush(),
            Fault::RestartRedis => {
                let redis = &mut self.own_servers()?.redis;
                redis.kill()?;
                redis.restart().await
            }
            Fault::ShiftClock { by } => self.cluster.pod(PODS - 1)?.put_clock_forward(by),
        }
    }

    fn own_servers(&mut self) -> anyhow::Result<&mut OwnServers> {
        self.servers.own.as_mut().context("the servers belong to a script")
    }

    /// Takes a pod out of action until its death is declared and others have resumed its trees, and brings it back.
    async fn take_out(&mut self, pod: usize, kind: OutageKind, lasts: Duration) -> anyhow::Result<()> {
        let observer = self.observer;
        let name = self.cluster.pod(pod)?.name().to_owned();
        let row = wait_until("the pod has a lease", START_MAX, || async { observer.live_pod(&name) }).await?;
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

    fn begin_outage(&mut self, pod: usize, kind: OutageKind) -> anyhow::Result<()> {
        match kind {
            OutageKind::Kill => return self.cluster.pod(pod)?.kill(),
            OutageKind::Freeze => return self.cluster.pod(pod)?.signal("STOP"),
            OutageKind::Cut => self.cluster.link(pod)?.set(Link::Cut),
            OutageKind::Silence => self.cluster.link(pod)?.set(Link::Silent),
        }
        Ok(())
    }

    fn end_outage(&mut self, pod: usize, kind: OutageKind) -> anyhow::Result<()> {
        match kind {
            OutageKind::Kill => self.cluster.pod(pod)?.spawn(),
            OutageKind::Freeze => self.cluster.pod(pod)?.signal("CONT"),
            OutageKind::Cut | OutageKind::Silence => {
                self.cluster.link(pod)?.set(Link::Open);
                Ok(())
            }
        }
    }

    /// Waits until a pod serves as another start than the one with this row. A process that has ended is started again,
    /// as a service manager does.
    async fn wait_recovered(&mut self, pod: usize, dead: i64) -> anyhow::Result<()> {
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
            sleep(RECOVERY_INTERVAL).await;
        }
    }

    async fn restart_postgres(&mut self, mode: StopMode, away: Duration) -> anyhow::Result<()> {
        let observer = self.observer;
        let postgres = &self.own_servers()?.postgres;
        postgres.stop(mode).await?;
        sleep(away).await;
        postgres.start_again().await?;
        wait_until("PostgreSQL replies", START_MAX, || async { observer.poll().await.ok() }).await?;
        for pod in 0..PODS {
            // No pod dies of it, so each has the row that it had.
            self.wait_recovered(pod, 0).await?;
        }
        Ok(())
    }

    /// Verifies the audit by a pod, and again with the public key only.
    async fn verify_audit(&self) -> anyhow::Result<AuditReport> {
        self.cluster.command(&["audit", "export-key", "--out", PUBLIC_KEY]).await?;
        let by_pod = self.cluster.command(&["audit", "verify"]).await?;
        let by_key = self.cluster.command(&["audit", "verify", "--public-key", PUBLIC_KEY]).await?;
        let is_valid = |report: &Json| report.get("valid") == Some(&Json::Bool(true));
        let records = by_key.get("records").and_then(Json::as_u64).unwrap_or_default();
        Ok(AuditReport { is_valid: is_valid(&by_pod) && is_valid(&by_key), records })
    }
}
