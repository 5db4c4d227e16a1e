//! Finds the owner of the data directory, or makes this process the owner.

use std::time::Duration;

use greenroom_protocol::Cause;
use tokio::time::Instant;

use crate::config::{Config, SettingsHash};
use crate::data_dir::{DataDirLock, LockError};
use crate::ingress::control::client::{ControlClient, OwnerInfo};

/// Longest time that an owner may take to start, or to end after its drain.
const OWNER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(40);
/// Time after which the user is notified of the wait.
const NOTE_AFTER: Duration = Duration::from_secs(2);

/// The owner of the data directory.
pub enum Owner {
    /// This process.
    ThisProcess(DataDirLock),
    /// Another process, which accepts requests.
    Other {
        /// Its control socket.
        socket: ControlClient,
        /// Its process id.
        process: String,
        /// The hashes of its settings; `None` if it does not state them.
        settings: Option<SettingsHash>,
    },
}

/// Acquires the data directory, or finds the process that owns it. Waits while an owner starts or shuts
/// down; `note` receives the reason of a long wait.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::DataDirectoryInUse`] if an owner neither accepts requests nor ends;
/// [`greenroom_protocol::ErrorCode::StoreUnavailable`] if the directory cannot be used.
pub async fn find_owner(config: &Config, note: fn(&str)) -> Result<Owner, Cause> {
    let wait_max = config.drain_timeout.saturating_add(OWNER_WAIT_MAX);
    let socket = ControlClient::new(&config.control_socket(), config.user.clone());
    let mut current_owner = String::new();
    let mut since = Instant::now();
    let mut is_noted = false;
    loop {
        let in_use = match DataDirLock::acquire(&config.data_dir).await {
            Ok(lock) => return Ok(Owner::ThisProcess(lock)),
            Err(error @ LockError::Unusable { .. }) => return Err(error.into()),
            Err(error @ LockError::InUse { .. }) => error,
        };
        // An owner that starts does not listen yet; one that drains rejects the request.
        if let Ok(OwnerInfo { process, settings }) = socket.identify().await {
            return Ok(Owner::Other { socket, process, settings });
        }
        if let LockError::InUse { owner, .. } = &in_use
            && *owner != current_owner
        {
            // Another process has become the owner in the meantime, and has its own time.
            (current_owner, since) = (owner.clone(), Instant::now());
        }
        if since.elapsed() > wait_max {
            return Err(in_use.into());
        }
        if since.elapsed() > NOTE_AFTER && !is_noted {
            note(&format!("waiting for process {current_owner}, which is starting or shutting down"));
            is_noted = true;
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
