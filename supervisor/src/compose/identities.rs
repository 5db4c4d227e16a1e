//! From the configuration and the stores to who may send requests.

use std::sync::Arc;

use greenroom_protocol::Cause;
use greenroom_registry::Stores;
use greenroom_rego::{Authenticator, IdentityProvider};

use crate::config::Config;
use crate::identity::ConfigIdentityProvider;
use crate::identity::credentials::Credentials;
use crate::identity::observer::IdentityObserver;
use crate::identity::provider::Identities;
use crate::telemetry::Metrics;

/// The users of the configuration, and the keys of the store.
#[derive(Clone)]
pub(crate) struct ConfiguredIdentities {
    /// The users, which a reload replaces.
    pub users: Arc<ConfigIdentityProvider>,
    /// The keys, and the principals of issuers.
    pub credentials: Arc<Credentials>,
}

/// Authenticates users of the configuration, API keys and the users of issuers, unless something else resolves users.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if the key of an issuer cannot be read.
pub(crate) fn open(
    config: &Config,
    stores: &Stores,
    metrics: &Metrics,
    other: Option<Arc<dyn IdentityProvider>>,
) -> Result<(Authenticator, Option<ConfiguredIdentities>), Cause> {
    if let Some(other) = other {
        return Ok((Authenticator::new(other), None));
    }
    let users = Arc::new(ConfigIdentityProvider::new(config.users.clone()));
    let credentials = Arc::new(Credentials::new(Arc::clone(&stores.credentials)));
    let observer: Arc<dyn IdentityObserver> = metrics.identity().clone();
    let identities = Identities::open(Arc::clone(&users), Arc::clone(&credentials), &config.issuers, observer)?;
    Ok((Authenticator::new(Arc::new(identities)), Some(ConfiguredIdentities { users, credentials })))
}
