//! Where a command's requests go: to the process that owns the data directory, over its control
//! socket, or, where nobody owns it, to a house that is built here and ends with the command.

use std::sync::Arc;
use std::time::Duration;

use greenroom_client::Client;
use greenroom_protocol::{ArtifactRef, Cause, Json};

use crate::clock::{TimeOrdered, WallClock};
use crate::compose::compose;
use crate::config::Config;
use crate::data_dir::{DataDirLock, LockError};
use crate::ingress::control::client::ControlClient;
use crate::ingress::frame::AdminCommand;
use crate::pod::Pod;

/// How often, and how far apart, an owner that is only just starting is tried.
const CONNECT_ATTEMPTS_MAX: u32 = 50;
const CONNECT_RETRY_DELAY: Duration = Duration::from_millis(40);

/// One command's way to the platform.
pub enum Session {
    /// A house of its own.
    InProcess(Box<Pod>),
    /// The owner of the data directory.
    Remote {
        /// Its socket.
        socket: ControlClient,
        /// What this command is told.
        config: Box<Config>,
    },
}

impl Session {
    /// Owns the data directory, or speaks with its owner.
    ///
    /// # Errors
    /// What stands in the way of a house; an owner that does not listen.
    pub async fn open(config: Config) -> Result<Self, Cause> {
        for tried in 0..CONNECT_ATTEMPTS_MAX {
            match DataDirLock::acquire(&config.data_dir) {
                Ok(owned) => return Self::own(config, owned).await,
                Err(LockError::Held { .. }) => {}
                Err(error @ LockError::Unusable { .. }) => return Err(error.into()),
            }
            // The owner may be starting, and may be ending just as well; then the lock is free again.
            if tokio::net::UnixStream::connect(config.control_socket()).await.is_ok() {
                let socket = ControlClient::new(&config.control_socket(), config.user.clone());
                return Ok(Self::Remote { socket, config: Box::new(config) });
            }
            if tried + 1 < CONNECT_ATTEMPTS_MAX {
                tokio::time::sleep(CONNECT_RETRY_DELAY).await;
            }
        }
        match DataDirLock::acquire(&config.data_dir) {
            Ok(owned) => Self::own(config, owned).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn own(config: Config, owned: DataDirLock) -> Result<Self, Cause> {
        let mut pod = compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await?;
        pod.attach_lock(owned);
        pod.listen()?;
        Ok(Self::InProcess(Box::new(pod)))
    }

    /// A client that speaks for the configured user.
    #[must_use]
    pub fn client(&self) -> Client {
        match self {
            Self::InProcess(pod) => pod.client(&pod.config().user),
            Self::Remote { socket, .. } => Client::new(Arc::new(socket.clone())),
        }
    }

    /// What this command is told.
    #[must_use]
    pub fn config(&self) -> &Config {
        match self {
            Self::InProcess(pod) => pod.config(),
            Self::Remote { config, .. } => config,
        }
    }

    /// True if the platform ends with this command.
    #[must_use]
    pub const fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// The revision of the policy in force, where this process can see it.
    #[must_use]
    pub fn policy_revision(&self) -> Option<String> {
        match self {
            Self::InProcess(pod) => Some(pod.guard().observe().revision),
            Self::Remote { .. } => None,
        }
    }

    /// Hands a file in.
    ///
    /// # Errors
    /// What the store says.
    pub async fn store_artifact(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        match self {
            Self::InProcess(pod) => pod.ingress().store_artifact(bytes, media_type, name).await,
            Self::Remote { socket, .. } => socket.keep(&bytes, media_type, name).await,
        }
    }

    /// Looks after the stores.
    ///
    /// # Errors
    /// What the store says.
    pub async fn admin(&self, command: AdminCommand) -> Result<Json, Cause> {
        match self {
            Self::InProcess(pod) => pod.ingress().admin(command).await,
            Self::Remote { socket, .. } => socket.admin(command).await,
        }
    }

    /// Ends what was built for this command: what is under way is waited for, with a bound.
    pub async fn close(self) {
        match self {
            Self::InProcess(pod) => pod.shutdown().await,
            Self::Remote { .. } => {}
        }
    }
}
