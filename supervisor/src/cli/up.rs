//! `greenroom up`: runs a pod until a signal arrives. If another pod declares it dead, the process starts as a new one.

use std::sync::Arc;

use greenroom_protocol::Cause;

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

/// Starts a pod with its control socket, its watchers and its recovery.
pub(super) async fn start(config: &Config, output: Output) -> Result<Pod, Cause> {
    let lock = match find_owner(config, |reason| tracing::warn!(reason, "start is delayed")).await? {
        Owner::ThisProcess(lock) => lock,
        Owner::Other { process, .. } => {
            return Err(LockError::InUse { dir: config.data_dir.clone(), owner: process }.into());
        }
    };
    let overrides = Overrides { lock: Some(lock), metrics: config.metrics, ..Overrides::default() };
    let mut pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
    pod.listen().await?;
    pod.watch();
    pod.recover();
    pod.sweep();
    let metrics = config.metrics.map(|addr| format!("http://{addr}/metrics"));
    tracing::info!(
        data.dir = %config.data_dir.display(), metrics.url = metrics, policy.revision = %pod.guard().info().revision,
        "greenroom is up"
    );
    if output.format() != OutputFormat::Json {
        let metrics = metrics.map(|url| format!(", metrics at {url}")).unwrap_or_default();
        let dir = config.data_dir.display();
        output.note(&format!("greenroom is up in {dir}{metrics}; press Ctrl-C to drain and exit"));
    }
    Ok(pod)
}
