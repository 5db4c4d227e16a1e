//! `greenroom up` and `greenroom pod`: run a pod until a signal arrives. If another pod declares it dead, the process starts
//! as a new one.

use std::sync::Arc;

use greenroom_protocol::{Cause, ErrorCode};

use super::args::OutputFormat;
use super::output::{Output, print_note};
use super::session::owner::{Owner, find_owner};
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Overrides, compose_with};
use crate::config::Config;
use crate::data_dir::LockError;
use crate::lifecycle::{ShutdownReason, Signals, run_until_shutdown};
use crate::pod::Pod;

/// Executes the command. It takes over from an owner that shuts down, as after a restart.
///
/// # Errors
/// Those of assembling the pod; [`greenroom_protocol::ErrorCode::DataDirectoryInUse`] with the owner if there
/// is one.
pub async fn up(config: Config, output: Output, signals: &mut Signals) -> Result<u8, Cause> {
    loop {
        let pod = tokio::select! {
            started = Box::pin(start(&config, output)) => started?,
            signal = signals.next() => return Ok(signal.exit_code()),
        };
        match run_until_shutdown(pod, signals).await {
            ShutdownReason::Signal => return Ok(0),
            ShutdownReason::Failure(message) => {
                if output.format() != OutputFormat::Json {
                    print_note(&format!("error: {message}"));
                }
                return Ok(1);
            }
            ShutdownReason::DeclaredDead => tracing::warn!("starting again as a new pod"),
        }
    }
}

/// Rejects a configuration that is none of a pod among others: `pod` is for a cluster, and a typing error in a variable
/// must not make a pod of its own of it.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] without NATS or the secret of the cluster; [`ErrorCode::SharedStoreNeeded`] without
/// a database that pods can share.
pub fn require_cluster(config: &Config) -> Result<(), Cause> {
    if config.nats.is_none() {
        let message = "`greenroom pod` needs nats.url (NATS_URL); `greenroom up` runs a pod without it";
        return Err(Cause::new(ErrorCode::InvalidConfiguration, message));
    }
    config.cluster.require_secret()?;
    if !config.store.is_server() {
        let message = "`greenroom pod` needs a database that pods share: set store.url (DATABASE_URL) to one of \
                       PostgreSQL; `greenroom up` runs the only pod of its cluster without it";
        return Err(Cause::new(ErrorCode::SharedStoreNeeded, message));
    }
    Ok(())
}

/// Starts a pod with its ingresses, its watchers and its recovery.
pub(super) async fn start(config: &Config, output: Output) -> Result<Pod, Cause> {
    let lock = match find_owner(config, |reason| tracing::warn!(reason, "start is delayed")).await? {
        Owner::ThisProcess(lock) => lock,
        Owner::Other { process, .. } => {
            return Err(LockError::InUse { dir: config.data_dir.clone(), owner: process }.into());
        }
    };
    let overrides = Overrides { lock: Some(lock), metrics: config.metrics, uses_nats: true, ..Overrides::default() };
    let mut pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
    pod.listen().await?;
    if let Err(cause) = pod.serve_nats().await {
        pod.shutdown().await;
        return Err(cause);
    }
    let http = match pod.serve_http() {
        Ok(addr) => addr.map(|addr| format!("http://{addr}")),
        Err(cause) => {
            pod.shutdown().await;
            return Err(cause);
        }
    };
    pod.watch();
    pod.recover();
    pod.sweep();
    let metrics = config.metrics.map(|addr| format!("http://{addr}/metrics"));
    tracing::info!(
        data.dir = %config.data_dir.display(), http.url = http, metrics.url = metrics,
        policy.revision = %pod.guard().info().revision, "greenroom is up"
    );
    if output.format() != OutputFormat::Json {
        let metrics = metrics.map(|url| format!(", metrics at {url}")).unwrap_or_default();
        let http = http.map(|url| format!(", HTTP at {url}")).unwrap_or_default();
        let dir = config.data_dir.display();
        let nats = config.nats.as_ref().map(|nats| format!(", requests at {}.v1.>", nats.prefix)).unwrap_or_default();
        output.note(&format!("greenroom is up in {dir}{http}{metrics}{nats}; press Ctrl-C to drain and exit"));
    }
    Ok(pod)
}
