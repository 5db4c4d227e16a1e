//! `greenroom runpod worker`: the worker, and what executes its jobs. Outside of RunPod it executes one job of a file.

use std::sync::Arc;

use greenroom_client::require_success;
use greenroom_protocol::{Cause, ErrorCode, IdGenerator};
use greenroom_runpod::cost::ComputePrice;
use greenroom_runpod::worker::execution::{ExecutionHandler, Startup};
use greenroom_runpod::worker::local::{local_request, read_local_job};
use greenroom_runpod::worker::{Worker, WorkerEnvironment, WorkerOptions, WorkerReport, report_unhealthy};
use tokio::sync::watch;

use super::host::{Host, HostProof, NatsPods, PodWork};
use super::variable;
use crate::cli::args::RunpodWorkerArgs;
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::clock::{TimeOrdered, WallClock};
use crate::config::Config;
use crate::lifecycle::Signals;

/// Executes the command until a signal arrives, and the jobs under way have ended.
pub(super) async fn worker(
    config: Config,
    arguments: RunpodWorkerArgs,
    output: Output,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    let fallback_id = format!("greenroom-{:032x}", TimeOrdered.next_id());
    let Some(environment) = WorkerEnvironment::read(variable, fallback_id)? else {
        let running = Box::pin(run_local(config, arguments, output));
        return crate::cli::interruptible(running, output, signals).await;
    };
    let pods = if arguments.thin { Some(NatsPods::new(&config)?) } else { None };
    let (startup, is_started) = watch::channel(Startup::Loading);
    let work = Arc::new(PodWork::default());
    let handler = ExecutionHandler::new(is_started, work.clone())
        .with_price(price(&arguments, &environment))
        .with_timeout(arguments.job_timeout.into());
    let proof = HostProof { startup: startup.clone(), pods: pods.clone() };
    let options = WorkerOptions {
        concurrency: usize::from(arguments.concurrency),
        refresh_worker: arguments.refresh_worker,
        resume_hook: Arc::new(proof),
        ..WorkerOptions::new(Arc::new(WallClock))
    };
    let worker = Worker::new(environment.clone(), Arc::new(handler), options)?;
    let (drain, is_draining) = watch::channel(false);
    let (end, is_ended) = watch::channel(false);
    let host = Host { config, pods, startup, work, drain: drain.clone(), is_ended, output };
    let working = async {
        let report = worker.run(is_draining).await;
        end.send_replace(true);
        report
    };
    let both = async { tokio::join!(working, Box::pin(host.serve())) };
    tokio::pin!(both);
    let (report, served) = loop {
        tokio::select! {
            ended = &mut both => break ended,
            signal = signals.next() => {
                if drain.send_replace(true) {
                    return Ok(signal.exit_code());
                }
                tracing::info!("the worker takes no more jobs");
            }
        }
    };
    log_report(report?);
    if let Err(cause) = served {
        report_unhealthy(&environment, "start", &cause.message).await;
        return Err(cause);
    }
    Ok(0)
}

fn log_report(report: WorkerReport) {
    tracing::info!(
        jobs.executed = report.executed,
        jobs.accepted = report.accepted,
        jobs.cancelled = report.cancelled,
        jobs.repeated = report.repeated,
        jobs.refused = report.refused,
        jobs.unfinished = report.unfinished,
        "the worker ends"
    );
}

/// The price of the worker, if it and the number of processors are known.
fn price(arguments: &RunpodWorkerArgs, environment: &WorkerEnvironment) -> Option<ComputePrice> {
    Some(ComputePrice::listed(arguments.vcpu_usd_per_hour?, environment.vcpus?))
}

/// Executes one job in a session, as a worker would.
async fn run_local(config: Config, arguments: RunpodWorkerArgs, output: Output) -> Result<u8, Cause> {
    let folder = std::env::current_dir().map_err(|error| {
        Cause::new(ErrorCode::InvalidConfiguration, format!("the working directory cannot be read: {error}"))
    })?;
    let (_, input) = read_local_job(arguments.test_input.as_deref(), &folder)?;
    let request = local_request(&input)?;
    let session = Session::open(config, false).await?;
    let sent = session.client().request(request).timeout(arguments.job_timeout.into()).send().await;
    session.close().await;
    let reply = sent?;
    output.reply(&reply);
    let code = reply.exit_code();
    Ok(if require_success(reply).is_ok() { 0 } else { code.max(1) })
}
