//! `greenroom up`: hosts the actors until it is asked to end.

use std::sync::Arc;

use greenroom_protocol::Cause;

use super::output::remark;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Extras, compose_with};
use crate::config::Config;
use crate::data_dir::{DataDir, LockError};
use crate::lifecycle::{Signals, Why, live};

/// Does it.
///
/// # Errors
/// What stands in the way of a house. Another owner of the data directory is named.
pub async fn up(config: Config, signals: &mut Signals) -> Result<u8, Cause> {
    let owned = match DataDir::own(&config.data_dir) {
        Ok(owned) => owned,
        Err(error @ (LockError::Owned { .. } | LockError::Unusable { .. })) => return Err(error.into()),
    };
    let extras = Extras { metrics: config.metrics, ..Extras::default() };
    let mut house = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), extras).await?;
    house.hold(owned);
    house.listen()?;
    house.watch();
    house.recover();
    house.sweep();
    tracing::info!(
        data.dir = %config.data_dir.display(), policy.revision = %house.guard().observe().revision, "process is up"
    );
    let metrics = config.metrics.map(|addr| format!(", metrics at http://{addr}/metrics")).unwrap_or_default();
    remark(&format!("greenroom is up in {}{metrics}; Ctrl-C drains it", config.data_dir.display()));
    match live(house, signals).await {
        Why::Asked => Ok(0),
        Why::Fallen(what) => {
            remark(&format!("error: {what}"));
            Ok(1)
        }
    }
}
