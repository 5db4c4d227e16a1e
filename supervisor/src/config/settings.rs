//! The table of all settings, collected from the sections. `greenroom config check` and
//! docs/configuration.md show it. Users, tenants and further providers are tables of the file; see
//! [`super::users`] and [`super::models`].

pub use super::setting::{Setting, SettingKind};
use super::{
    admission, artifacts, audit, cluster, definitions, files, guard, http, memory, models, nats, pod, process, python,
    qdrant, redis, store, wasm,
};

/// The settings of every section, in the order of the documentation.
const SECTIONS: [&[Setting]; 18] = [
    pod::SETTINGS,
    definitions::SETTINGS,
    files::SETTINGS,
    python::SETTINGS,
    store::SETTINGS,
    audit::SETTINGS,
    redis::SETTINGS,
    qdrant::SETTINGS,
    nats::SETTINGS,
    cluster::SETTINGS,
    artifacts::SETTINGS,
    admission::SETTINGS,
    guard::SETTINGS,
    wasm::SETTINGS,
    http::SETTINGS,
    process::SETTINGS,
    models::SETTINGS,
    memory::SETTINGS,
];

/// Names the settings file; read before any setting.
pub const CONFIG_FILE_VARIABLE: &str = "GREENROOM_CONFIG";
/// Prefix of our own variables; one that no setting knows is an error.
pub const OUR_PREFIX: &str = "GREENROOM_";

/// Every setting that is one value.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SECTIONS.iter().copied().flatten()
}

/// The setting of a key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}
