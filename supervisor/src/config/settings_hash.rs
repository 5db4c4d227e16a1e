//! Short hashes of the settings of a pod. The owner of a data directory states them with its process id, so that a
//! command whose requests it executes can find out that its own settings are different and have no effect.

use greenroom_protocol::ContentHash;
use serde::{Deserialize, Serialize};

use super::resolved::ResolvedSetting;

/// Settings that a command decides itself, or that change nothing for it, whatever process executes its requests: the
/// data directory, its control socket, the user and the log.
const OF_THE_PROCESS: [&str; 4] = ["data_dir", "log.filter", "runtime_dir", "user"];
/// Tables of the file that a running pod reads again when the file changes.
const OF_USERS: [&str; 2] = ["users[", "tenants."];
/// Digits of a hash. Two configurations practically never have the same ones by chance, and the hash protects nothing.
const DIGITS: usize = 16;

/// The hashes of the settings of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsHash {
    /// The hash of the values that all layers result in.
    effective: String,
    /// The hash of the values of the settings file over the defaults. Two processes with one file have the same one,
    /// also if only one of them has an API key in its environment.
    file: String,
    /// The hash of the users and tenants, which are in the settings file only and in neither of the other hashes.
    #[serde(default)]
    users: String,
}

impl SettingsHash {
    /// Hashes the values of all layers, and those of the settings file over the defaults.
    pub(super) fn new(effective: &[ResolvedSetting], file: &[ResolvedSetting]) -> Self {
        let settings = |rows: &[ResolvedSetting]| hash(rows, |key| is_of_the_pod(key) && !is_of_users(key));
        Self { effective: settings(effective), file: settings(file), users: hash(file, is_of_users) }
    }

    /// The same hashes with other users and tenants.
    #[must_use]
    pub(crate) fn with_users_of(&self, other: &Self) -> Self {
        Self { users: other.users.clone(), ..self.clone() }
    }

    /// True if the settings file of this process has no effect on the pod of `owner`, and would make a difference: the
    /// files differ, and so do the values that all layers result in.
    #[must_use]
    pub fn is_overridden_by(&self, owner: &Self) -> bool {
        (self.file != owner.file && self.effective != owner.effective) || self.users != owner.users
    }
}

/// True for a setting of the pod that executes a request, false for one of the process that sends it.
pub(super) fn is_of_the_pod(key: &str) -> bool {
    !OF_THE_PROCESS.contains(&key)
}

fn is_of_users(key: &str) -> bool {
    OF_USERS.iter().any(|table| key.starts_with(table))
}

/// Hashes the values of the settings with these keys. The values are masked, so a secret counts only as set or not set,
/// and the hash reveals nothing about it.
fn hash(resolved: &[ResolvedSetting], has_key: impl Fn(&str) -> bool) -> String {
    let rows = resolved.iter().filter(|row| has_key(&row.key));
    let text: String = rows.map(|row| format!("{:?}\n", (&row.key, &row.value))).collect();
    let digits = ContentHash::from_content(text.as_bytes()).to_string();
    digits.get(..DIGITS).unwrap_or(&digits).to_owned()
}
