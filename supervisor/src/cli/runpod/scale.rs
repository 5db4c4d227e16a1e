//! `greenroom runpod scale`: what waits on NATS, and the runs of the store, become leases.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_client::Client;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::limits::PAGE_ROWS_MAX;
use greenroom_protocol::request::{Page, RunListFilter};
use greenroom_protocol::{Cause, ErrorCode, IdGenerator, Json};
use greenroom_runpod::scale::{Demand, DemandSource, QueueEndpoint, ScaleLimits, ScaleOptions, Scaler};
use tokio::sync::watch;

use super::api_key;
use crate::cli::args::RunpodScaleArgs;
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::clock::TimeOrdered;
use crate::config::Config;
use crate::ingress::nats::demand::NatsDemand;
use crate::lifecycle::Signals;

/// The runs that a store has, and that have not ended: those that wait for a pod, and those that are executed.
struct StoredRuns {
    client: Client,
}

impl StoredRuns {
    /// The number of runs with a status; at most those of one page, which is more than the leases of any endpoint.
    async fn count(&self, status: RunStatus) -> Result<u64, Cause> {
        let filter = RunListFilter { status: Some(status), workflow: None };
        let page = Page { after: None, limit: PAGE_ROWS_MAX };
        let reply = self.client.runs(filter, page).await?;
        match reply.error {
            Some(cause) => Err(cause),
            None => {
                let runs = reply.outputs.get("runs").and_then(Json::as_array).map_or(0, Vec::len);
                Ok(u64::try_from(runs).unwrap_or(u64::MAX))
            }
        }
    }
}

/// The runs of the store, and the requests over NATS if the configuration has it.
struct Work {
    runs: StoredRuns,
    nats: Option<NatsDemand>,
}

#[async_trait]
impl DemandSource for Work {
    async fn demand(&self) -> Result<Demand, Cause> {
        let nats = self.nats.as_ref().map(NatsDemand::work).transpose()?.unwrap_or_default();
        let (queued, running) = (self.runs.count(RunStatus::Queued).await?, self.runs.count(RunStatus::Running).await?);
        // A request that waits for the end of its run is counted once.
        Ok(Demand { waiting: queued.saturating_add(nats.waiting), under_way: running.max(nats.under_way) })
    }
}

/// Executes the command until a signal arrives. The leases continue, and end when there is no work.
pub(super) async fn scale(
    config: Config,
    arguments: RunpodScaleArgs,
    output: Output,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    let endpoint = QueueEndpoint::new(&arguments.endpoints_url, &arguments.endpoint, api_key())?;
    if arguments.max == 0 {
        return Err(Cause::new(ErrorCode::InvalidConfiguration, "--max is at least 1"));
    }
    let nats = match &config.nats {
        Some(nats) => Some(Box::pin(NatsDemand::open(nats, &config.pod)).await?),
        None => None,
    };
    let session = Session::open(config, false).await?;
    let options = ScaleOptions {
        limits: ScaleLimits { min: arguments.min, max: arguments.max, work_per_worker: arguments.work_per_worker },
        interval: arguments.interval.into(),
        lease_max: arguments.lease.into(),
        lease_idle: arguments.idle.into(),
        name: format!("lease-{:032x}", TimeOrdered.next_id()),
    };
    let work = Work { runs: StoredRuns { client: session.client() }, nats };
    let scaler = Scaler::new(endpoint, Arc::new(work), options);
    let (stop, is_stopped) = watch::channel(false);
    output.note(&format!("scaling {} between {} and {} leases", arguments.endpoint, arguments.min, arguments.max));
    let scaling = scaler.run(is_stopped);
    tokio::pin!(scaling);
    tokio::select! {
        () = &mut scaling => {}
        _ = signals.next() => {
            stop.send_replace(true);
            scaling.await;
        }
    }
    session.close().await;
    Ok(0)
}
