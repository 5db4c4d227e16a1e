//! One run of the harness: pods, their runs, the faults of a schedule, and then the check of what was observed.

mod outages;
mod server_faults;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use greenroom_protocol::Json;
use tokio::time::sleep;

use super::Cluster;
use super::checker::report::Report;
use super::checker::{Bounds, check};
use super::exits::ExitWatch;
use super::fault::{Fault, PODS};
use super::history::{AuditReport, DrainCounts, ForeignReport, History, PodFault};
use super::journals::read_journals;
use super::load::Load;
use super::model_log::ModelLog;
use super::moment::{HarnessClock, Moment};
use super::observer::Observer;
use super::proxy::Link;
use super::schedule::Schedule;
use super::servers::Servers;
use super::starvation::{DatabaseAbsence, starvation_faults};
use super::workload::PAYER;
use crate::wait::wait_until;

/// Bounds of waits that only end a run of the harness that would hang.
const CALLS_WAIT_MAX: Duration = Duration::from_secs(120);
const END_WAIT_MAX: Duration = Duration::from_secs(180);
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
    exits: &'e ExitWatch,
    notes: Notes<'e>,
    faults: Vec<PodFault>,
    absences: Vec<DatabaseAbsence>,
    drains: DrainCounts,
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
    let load = match &servers.nats_url {
        Some(url) => Load::over_nats(schedule.workload, url).await?,
        None => Load::over_sockets(schedule.workload, &cluster.sockets())?,
    };
    let exits = ExitWatch::new(clock, cluster.processes());
    let (faults, absences, drains) = (Vec::new(), Vec::new(), DrainCounts::default());
    let (model, observer, load, exits) = (&model, &observer, &load, &exits);
    let mut experiment =
        Experiment { schedule, clock, cluster, servers, model, observer, load, exits, notes, faults, absences, drains };
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
        self.wait_serving_over_nats().await?;
        let accepted = self.drive_observed().await?;
        self.observer.poll().await?;
        let journals = read_journals(&self.cluster.pool(), self.observer).await?;
        let budget = self.schedule.workload.budget(self.schedule.runs());
        let (deaths, mut faults) = (self.observer.deaths(), std::mem::take(&mut self.faults));
        let starved = starvation_faults(&deaths, &faults, &self.absences, &self.exits.exits());
        faults.extend(starved);
        Ok(History {
            accepted,
            journals,
            calls: self.model.calls(),
            faults,
            deaths,
            budgets: [(PAYER.to_owned(), budget.0)].into(),
            audit: self.verify_audit().await?,
            requests: self.load.requests(),
            drains: std::mem::take(&mut self.drains),
            foreign: self.foreign_report().await?,
        })
    }

    /// What the second cluster has, if there is one.
    async fn foreign_report(&self) -> anyhow::Result<Option<ForeignReport>> {
        match self.cluster.foreign() {
            Some(foreign) => foreign.report().await.map(Some),
            None => Ok(None),
        }
    }

    /// Starts the runs and injects the faults, while the database is observed and what waits is signed.
    async fn drive_observed(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let (observer, load, exits) = (self.observer, self.load, self.exits);
        tokio::select! {
            accepted = Box::pin(self.drive()) => accepted,
            signed = load.sign_waiting(observer) => {
                signed?;
                anyhow::bail!("nothing is signed any more")
            }
            () = observer.observe() => anyhow::bail!("nothing is observed any more"),
            () = exits.watch() => anyhow::bail!("no process is watched any more"),
        }
    }

    async fn drive(&mut self) -> anyhow::Result<BTreeSet<String>> {
        self.observer.poll().await?;
        let (schedule, load, observer) = (self.schedule, self.load, self.observer);
        let (mut accepted, mut next) = (BTreeSet::new(), 0);
        for scheduled in &schedule.faults {
            let numbers = next..next + scheduled.runs;
            if let Some(foreign) = self.cluster.foreign() {
                foreign.start_run(next).await?;
            }
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
            Fault::NatsLink { pod, link, lasts } => self.disturb_nats(pod, link, lasts).await,
            Fault::RestartNats { away } => self.restart_nats(away).await,
            Fault::SlowConsumer => self.own_nats()?.starve_subscriber().await,
            Fault::FillJetStream { lasts } => self.fill_jetstream(lasts).await,
            Fault::RollingRestart => self.restart_rolling().await,
        }
    }

    /// Verifies the audit by a pod, and again with the public key only.
    async fn verify_audit(&self) -> anyhow::Result<AuditReport> {
        let pod = self.cluster.first_pod()?;
        pod.command(&["audit", "export-key", "--out", PUBLIC_KEY]).await?;
        let by_pod = pod.command(&["audit", "verify"]).await?;
        let by_key = pod.command(&["audit", "verify", "--public-key", PUBLIC_KEY]).await?;
        let is_valid = |report: &Json| report.get("valid") == Some(&Json::Bool(true));
        let records = by_key.get("records").and_then(Json::as_u64).unwrap_or_default();
        Ok(AuditReport { is_valid: is_valid(&by_pod) && is_valid(&by_key), records })
    }
}
