//! The section `files`: what handlers may read.

use std::path::{Path, PathBuf};

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[Setting::paths(
    "files.roots",
    &["GREENROOM_FILES_ROOTS"],
    "directories from which handlers may read paths given in inputs; default DATA_DIR/files",
)];

/// The roots; by default one directory inside the data directory.
pub(super) fn read(reader: &mut ConfigReader<'_>, data_dir: &Path) -> Vec<PathBuf> {
    reader.get("files.roots").unwrap_or_else(|| vec![data_dir.join("files")])
}
