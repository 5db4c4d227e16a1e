//! Where the requests of a command are sent: to the owner of the data directory over its control socket,
//! or, if the directory has no owner, to a pod in this process that shuts down with the command.

use std::sync::Arc;
use std::time::Duration;

use greenroom_client::Client;
use greenroom_protocol::limits::REQUEST_TIMEOUT_MAX;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{ArtifactRef, Cause, Clock, Deadline, Json};

use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Overrides, compose_with};
use crate::config::Config;
use crate::data_dir::{DataDirLock, LockError};
use crate::ingress::control::client::ControlClient;
use crate::pod::Pod;

/// Attempts to connect to an owner that is still starting, and the delay between two.
const CONNECT_ATTEMPTS_MAX: u32 = 50;
const CONNECT_RETRY_DELAY: Duration = Duration::from_millis(40);

/// The connection of one command to a pod.
pub enum Session {
    /// A pod in this process.
    InProcess(Box<Pod>),
    /// The owner of the data directory.
    Remote {
        /// Its control socket.
        socket: ControlClient,
        /// The configuration of this command.
        config: Box<Config>,
    },
}

impl Session {
    /// Starts a pod if the data directory has no owner, or connects to its owner.
    ///
    /// # Errors
    /// Those of assembling the pod; [`greenroom_protocol::ErrorCode::DataDirectoryInUse`] if the owner does
    /// not listen.
    pub async fn open(config: Config) -> Result<Self, Cause> {
        for attempt in 1..=CONNECT_ATTEMPTS_MAX {
            match DataDirLock::acquire(&config.data_dir) {
                Ok(lock) => return Self::start_pod(config, lock).await,
                Err(LockError::InUse { .. }) => {}
                Err(error @ LockError::Unusable { .. }) => return Err(error.into()),
            }
            // The owner may be starting, or shutting down, which releases the lock.
            if tokio::net::UnixStream::connect(config.control_socket()).await.is_ok() {
                let socket = ControlClient::new(&config.control_socket(), config.user.clone());
                return Ok(Self::Remote { socket, config: Box::new(config) });
            }
            if attempt < CONNECT_ATTEMPTS_MAX {
                tokio::time::sleep(CONNECT_RETRY_DELAY).await;
            }
        }
        match DataDirLock::acquire(&config.data_dir) {
            Ok(lock) => Self::start_pod(config, lock).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn start_pod(config: Config, lock: DataDirLock) -> Result<Self, Cause> {
        let overrides = Overrides { lock: Some(lock), ..Overrides::default() };
        let mut pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
        pod.listen()?;
        Ok(Self::InProcess(Box::new(pod)))
    }

    /// A client that authenticates as the configured user.
    #[must_use]
    pub fn client(&self) -> Client {
        match self {
            Self::InProcess(pod) => pod.client(&pod.config().user),
            Self::Remote { socket, .. } => Client::new(Arc::new(socket.clone())),
        }
    }

    /// The configuration of this command.
    #[must_use]
    pub fn config(&self) -> &Config {
        match self {
            Self::InProcess(pod) => pod.config(),
            Self::Remote { config, .. } => config,
        }
    }

    /// True if the pod shuts down with this command.
    #[must_use]
    pub const fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn store_artifact(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        match self {
            Self::InProcess(pod) => pod.ingress().store_artifact(&pod.config().user, bytes, media_type, name).await,
            Self::Remote { socket, .. } => socket.store_artifact(&bytes, media_type, name).await,
        }
    }

    /// Requests maintenance and returns its report.
    ///
    /// # Errors
    /// The cause of a denied or failed request; those of the transport.
    pub async fn maintain(&self, maintenance: Maintenance) -> Result<Json, Cause> {
        let deadline = Deadline::after(WallClock.now(), REQUEST_TIMEOUT_MAX);
        let mut reply = self.client().with_deadline(deadline).maintain(maintenance).await?;
        match reply.error {
            Some(cause) => Err(cause),
            None => Ok(reply.outputs.remove("report").unwrap_or_default()),
        }
    }

    /// Drains and shuts down the pod that was started for this command.
    pub async fn close(self) {
        match self {
            Self::InProcess(pod) => pod.shutdown().await,
            Self::Remote { .. } => {}
        }
    }
}
