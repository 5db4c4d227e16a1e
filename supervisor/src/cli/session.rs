//! Where a command's requests go: to the process that owns the data directory, over its control
//! socket, or, where nobody owns it, to a house that is built here and ends with the command.

use std::sync::Arc;
use std::time::Duration;

use greenroom_client::Client;
use greenroom_protocol::{ArtifactRef, Cause, Json};

use crate::clock::{TimeOrdered, WallClock};
use crate::compose::compose;
use crate::config::Config;
use crate::data_dir::{DataDir, LockError};
use crate::ingress::control::client::Socket;
use crate::ingress::frame::Chore;
use crate::pod::House;

/// How often, and how far apart, an owner that is only just starting is tried.
const DIAL_TRIES_MAX: u32 = 50;
const DIAL_PAUSE: Duration = Duration::from_millis(40);

/// One command's way to the platform.
pub enum Session {
    /// A house of its own.
    Own(Box<House>),
    /// The owner of the data directory.
    Other {
        /// Its socket.
        socket: Socket,
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
        for tried in 0..DIAL_TRIES_MAX {
            match DataDir::own(&config.data_dir) {
                Ok(owned) => return Self::own(config, owned).await,
                Err(LockError::Owned { .. }) => {}
                Err(error @ LockError::Unusable { .. }) => return Err(error.into()),
            }
            // The owner may be starting, and may be ending just as well; then the lock is free again.
            if tokio::net::UnixStream::connect(config.control_socket()).await.is_ok() {
                let socket = Socket::new(&config.control_socket(), config.user.clone());
                return Ok(Self::Other { socket, config: Box::new(config) });
            }
            if tried + 1 < DIAL_TRIES_MAX {
                tokio::time::sleep(DIAL_PAUSE).await;
            }
        }
        match DataDir::own(&config.data_dir) {
            Ok(owned) => Self::own(config, owned).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn own(config: Config, owned: DataDir) -> Result<Self, Cause> {
        let mut house = compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await?;
        house.hold(owned);
        house.listen()?;
        Ok(Self::Own(Box::new(house)))
    }

    /// A client that speaks for the configured user.
    #[must_use]
    pub fn client(&self) -> Client {
        match self {
            Self::Own(house) => house.client(&house.config().user),
            Self::Other { socket, .. } => Client::new(Arc::new(socket.clone())),
        }
    }

    /// What this command is told.
    #[must_use]
    pub fn config(&self) -> &Config {
        match self {
            Self::Own(house) => house.config(),
            Self::Other { config, .. } => config,
        }
    }

    /// True if the platform ends with this command.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// The revision of the policy in force, where this process can see it.
    #[must_use]
    pub fn policy_revision(&self) -> Option<String> {
        match self {
            Self::Own(house) => Some(house.guard().observe().revision),
            Self::Other { .. } => None,
        }
    }

    /// Hands a file in.
    ///
    /// # Errors
    /// What the store says.
    pub async fn keep(&self, bytes: Vec<u8>, media_type: &str, name: &str) -> Result<ArtifactRef, Cause> {
        match self {
            Self::Own(house) => house.front().keep(bytes, media_type, name).await,
            Self::Other { socket, .. } => socket.keep(&bytes, media_type, name).await,
        }
    }

    /// Looks after the stores.
    ///
    /// # Errors
    /// What the store says.
    pub async fn maintain(&self, chore: Chore) -> Result<Json, Cause> {
        match self {
            Self::Own(house) => house.front().maintain(chore).await,
            Self::Other { socket, .. } => socket.maintain(chore).await,
        }
    }

    /// Ends what was built for this command: what is under way is waited for, with a bound.
    pub async fn end(self) {
        match self {
            Self::Own(house) => house.shutdown().await,
            Self::Other { .. } => {}
        }
    }
}
