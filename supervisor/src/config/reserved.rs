//! Settings that are known but unused by this version. Setting one causes a warning.

use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] =
    &[Setting::text("qdrant.url", &["QDRANT_URL"], "address of Qdrant; this version does not use it yet").masked()];
