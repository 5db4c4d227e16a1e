//! What is watched of a process while something else is waited for: what it prints, and the size of its files.

use std::pin::pin;

use tokio::process::ChildStderr;
use tokio::time::Interval;

use super::output::{self, Tail};
use super::work_folder::{FilesExceeded, WorkFolder};

/// A process that is watched.
pub(super) struct Watch<'a> {
    /// What it prints; `None` once it has closed that.
    pub(super) stderr: &'a mut Option<ChildStderr>,
    pub(super) buffer: &'a mut Vec<u8>,
    /// When its files are measured.
    pub(super) ticks: &'a mut Interval,
    pub(super) folder: &'a WorkFolder,
    pub(super) file_bytes_max: u64,
}

impl Watch<'_> {
    /// Waits for the work, and watches the process meanwhile.
    ///
    /// # Errors
    /// [`FilesExceeded`]; the work is dropped then.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>, output: &mut Tail) -> Result<T, FilesExceeded> {
        let Self { stderr, buffer, ticks, folder, file_bytes_max } = self;
        let mut work = pin!(work);
        loop {
            let printed = async {
                match stderr.as_mut() {
                    Some(reader) => output::read_some(reader, buffer, output).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = &mut work => return Ok(result),
                _ = ticks.tick() => {
                    if folder.exceeds(file_bytes_max).await {
                        return Err(FilesExceeded(file_bytes_max));
                    }
                }
                has_more = printed => {
                    if !has_more {
                        *stderr = None;
                    }
                }
            }
        }
    }
}
