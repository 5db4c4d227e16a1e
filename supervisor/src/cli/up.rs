//! `greenroom up`: hosts the actors until it is asked to end.

use std::sync::Arc;

use greenroom_protocol::Cause;

use super::output::print_note;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Overrides, compose_with};
use crate::config::Config;
use crate::data_dir::{DataDirLock, LockError};
use crate::lifecycle::{ShutdownReason, Signals, run_until_shutdown};

/// Does it.
///
/// # Errors
/// What stands in the way of a house. Another owner of the data directory is named.
pub async fn up(config: Config, signals: &mut Signals) -> Result<u8, Cause> {
    let owned = match DataDirLock::acquire(&config.data_dir) {
        Ok(owned) => owned,
        Err(error @ (LockError::Held { .. } | LockError::Unusable { .. })) => return Err(error.into()),
    };
    let extras = Overrides { metrics: config.metrics, ..Overrides::default() };
    let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), extras).await?;
    pod.attach_lock(owned);
    pod.listen()?;
    pod.watch();
    pod.recover();
    pod.sweep();
    tracing::info!(
        data.dir = %config.data_dir.display(), policy.revision = %pod.guard().observe().revision, "process is up"
    );
    let metrics = config.metrics.map(|addr| format!(", metrics at http://{addr}/metrics")).unwrap_or_default();
    print_note(&format!("greenroom is up in {}{metrics}; Ctrl-C drains it", config.data_dir.display()));
    match run_until_shutdown(pod, signals).await {
        ShutdownReason::Signal => Ok(0),
        ShutdownReason::Failure(what) => {
            print_note(&format!("error: {what}"));
            Ok(1)
        }
    }
}
