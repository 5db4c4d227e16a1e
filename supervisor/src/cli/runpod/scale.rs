//! `greenroom runpod scale`: what waits on NATS, and the runs of the store, become leases.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_client::Client;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{Cause, ErrorCode, IdGenerator};
use greenroom_runpod::scale::{Demand, DemandSource, QueueEndpoint, ScaleLimits, ScaleOptions, Scaler};
use serde::Deserialize;
use tokio::sync::watch;

use super::api_key;
use crate::cli::args::RunpodScaleArgs;
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::clock::TimeOrdered;
use crate::config::Config;
use crate::ingress::nats::demand::NatsDemand;
use crate::lifecycle::Signals;

/// The trees of runs of a store, of all tenants.
struct StoredTrees {
    client: Client,
}

/// The report of [`Maintenance::CountTrees`].
#[derive(Deserialize)]
struct TreeReport {
    waiting: u64,
    owned: u64,
    shared: bool,
}

impl StoredTrees {
    /// The trees that a pod is to claim now, and those that one has. A tree that only waits, for a person, an event or a later
    /// time, is neither: no worker is paid for it.
    async fn demand(&self) -> Result<Demand, Cause> {
        let mut reply = self.client.maintain(Maintenance::CountTrees).await?;
        if let Some(cause) = reply.error {
            return Err(cause);
        }
        let report = reply.outputs.remove("report").unwrap_or_default();
        let report: TreeReport = serde_json::from_value(report).map_err(|error| {
            Cause::new(ErrorCode::Internal, format!("the report of the trees of runs cannot be read: {error}"))
        })?;
        let TreeReport { waiting, owned, shared } = report;
        // No worker can open a store that is not shared, so its runs need none.
        Ok(if shared { Demand { waiting, under_way: owned } } else { Demand::default() })
    }
}

/// The trees of the store, and the requests over NATS if the configuration has it.
struct Work {
    trees: StoredTrees,
    nats: Option<NatsDemand>,
}

#[async_trait]
impl DemandSource for Work {
    async fn demand(&self) -> Result<Demand, Cause> {
        let nats = self.nats.as_ref().map(NatsDemand::work).transpose()?.unwrap_or_default();
        let Demand { waiting, under_way } = self.trees.demand().await?;
        // A request that waits for the end of its run is counted once.
        Ok(Demand { waiting: waiting.saturating_add(nats.waiting), under_way: under_way.max(nats.under_way) })
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
    let session = Session::open(config, false).await?;
    let scaled = Box::pin(scale_in(&session, endpoint, &arguments, output, signals)).await;
    session.close().await;
    scaled.map(|()| 0)
}

/// Scales by what the pod of a session counts.
async fn scale_in(
    session: &Session,
    endpoint: QueueEndpoint,
    arguments: &RunpodScaleArgs,
    output: Output,
    signals: &mut Signals,
) -> Result<(), Cause> {
    let trees = StoredTrees { client: session.client() };
    // A user who may not count is told so at once; what passes is tried again in each round.
    if let Err(cause) = trees.demand().await
        && !cause.code.is_retryable()
    {
        return Err(cause);
    }
    let config = session.config();
    let nats = match &config.nats {
        Some(nats) => Some(Box::pin(NatsDemand::open(nats, &config.pod)).await?),
        None => None,
    };
    let options = ScaleOptions {
        limits: ScaleLimits { min: arguments.min, max: arguments.max, work_per_worker: arguments.work_per_worker },
        interval: arguments.interval.into(),
        lease_max: arguments.lease.into(),
        lease_idle: arguments.idle.into(),
        name: format!("lease-{:032x}", TimeOrdered.next_id()),
    };
    let scaler = Scaler::new(endpoint, Arc::new(Work { trees, nats }), options);
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
    Ok(())
}
