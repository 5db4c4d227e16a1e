//! `greenroom up`: runs a pod until a signal arrives.

use std::sync::Arc;

use greenroom_protocol::Cause;

use super::output::print_note;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Overrides, compose_with};
use crate::config::Config;
use crate::data_dir::DataDirLock;
use crate::lifecycle::{ShutdownReason, Signals, run_until_shutdown};

/// Executes the command.
///
/// # Errors
/// Those of assembling the pod; [`greenroom_protocol::ErrorCode::DataDirectoryInUse`] with the owner if there
/// is one.
pub async fn up(config: Config, signals: &mut Signals) -> Result<u8, Cause> {
    let lock = DataDirLock::acquire(&config.data_dir)?;
    let overrides = Overrides { lock: Some(lock), metrics: config.metrics, ..Overrides::default() };
    let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
    pod.listen()?;
    pod.watch();
    pod.recover();
    pod.sweep();
    tracing::info!(
        data.dir = %config.data_dir.display(), policy.revision = %pod.guard().info().revision, "pod is running"
    );
    let metrics = config.metrics.map(|addr| format!(", metrics at http://{addr}/metrics")).unwrap_or_default();
    print_note(&format!(
        "greenroom is running in {}{metrics}; press Ctrl-C to drain and exit",
        config.data_dir.display()
    ));
    match run_until_shutdown(pod, signals).await {
        ShutdownReason::Signal => Ok(0),
        ShutdownReason::Failure(message) => {
            print_note(&format!("error: {message}"));
            Ok(1)
        }
    }
}
