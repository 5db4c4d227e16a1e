//! The section `guard`: how many engines decide concurrently.

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[Setting::number(
    "guard.workers",
    &["GREENROOM_GUARD_WORKERS"],
    "workers of the guard, each with its own policy engine; 0 means one per core",
)
.or("0")];

/// The configured number of workers.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> usize {
    reader.get("guard.workers").unwrap_or_default()
}

/// The number of workers, with one for each core of this machine if none is set.
#[must_use]
pub fn resolve_workers(workers: usize) -> usize {
    match workers {
        0 => cores(),
        workers => workers,
    }
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
