//! The users and tenants of the settings file. Those of a changed file are active from the next hop of each request on;
//! a file that is broken, or that was removed, changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use greenroom_protocol::ContentHash;

use crate::config::SettingsHash;
use crate::config::source::ChangedUsers;
use crate::identity::ConfigIdentityProvider;

/// The settings file, and what is replaced when its users or tenants change.
pub(crate) struct UserFile {
    pub(crate) path: PathBuf,
    pub(crate) identities: Arc<ConfigIdentityProvider>,
    /// The hashes that the pod states to commands.
    pub(crate) settings_hash: Arc<ArcSwap<SettingsHash>>,
}

impl UserFile {
    /// Makes users and tenants active. Returns a message, or `None` if they are active already.
    pub(super) fn activate(&self, changed: ChangedUsers) -> Option<String> {
        let ChangedUsers { users, settings_hash } = changed;
        let message = format!("{} users and {} tenants with limits are active", users.users.len(), users.tenants.len());
        let stated = self.settings_hash.load_full().with_users_of(&settings_hash);
        self.settings_hash.store(Arc::new(stated));
        self.identities.swap(users).then_some(message)
    }
}

/// The hash of the content of a file; `None` if it cannot be read.
pub(super) fn fingerprint(file: &Path) -> Option<ContentHash> {
    std::fs::read(file).ok().map(|content| ContentHash::from_content(&content))
}
