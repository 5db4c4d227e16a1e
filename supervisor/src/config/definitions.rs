//! The sections `definitions` and `policy`: directories that replace the embedded catalogue and bundle, and how strict
//! the pod is with invalid files.

use std::path::PathBuf;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text("definitions.dir", &["GREENROOM_DEFINITIONS"], "definitions instead of the embedded ones; watched"),
    Setting::text(
        "definitions.strict",
        &["GREENROOM_DEFINITIONS_STRICT"],
        "`true` refuses a start or a reload with an invalid file; `false` quarantines the file",
    )
    .or("false"),
    Setting::text("policy.dir", &["GREENROOM_POLICY"], "a policy bundle instead of the embedded one; watched"),
];

/// The directory of definitions.
pub(super) fn read_definitions_dir(reader: &mut ConfigReader<'_>) -> Option<PathBuf> {
    reader.get("definitions.dir")
}

/// True if one invalid file refuses all of them.
pub(super) fn read_strict(reader: &mut ConfigReader<'_>) -> bool {
    reader.get("definitions.strict").unwrap_or_default()
}

/// The directory of the policy bundle.
pub(super) fn read_policy_dir(reader: &mut ConfigReader<'_>) -> Option<PathBuf> {
    reader.get("policy.dir")
}
