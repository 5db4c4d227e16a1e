//! Settings without a section: the data directory, the name of the pod and the user of the command line.

use std::path::PathBuf;

use greenroom_protocol::{PodId, UserId};

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text("data_dir", &["GREENROOM_DATA_DIR"], "the directory that one process owns").or("greenroom-data"),
    Setting::text("pod", &["GREENROOM_POD"], "the name of this pod in replies and in the audit").or("local"),
    Setting::text("user", &["GREENROOM_USER"], "user that the command line authenticates as").or("admin"),
];

/// The data directory, absolute, so that every process means the same one in whatever directory it runs.
pub(super) fn read_data_dir(reader: &mut ConfigReader<'_>) -> PathBuf {
    let dir: PathBuf = reader.get("data_dir").unwrap_or_default();
    std::path::absolute(&dir).unwrap_or(dir)
}

/// The name of the pod; `None` if it is no valid name.
pub(super) fn read_pod(reader: &mut ConfigReader<'_>) -> Option<PodId> {
    reader.parse("pod", "an id")
}

/// The user of the command line; `None` if it is no valid name.
pub(super) fn read_user(reader: &mut ConfigReader<'_>) -> Option<UserId> {
    reader.parse("user", "the name of a user")
}
