//! The end of the process: a first signal drains, a second one ends at once, and so does the loss of
//! what nothing works without.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::pod::Pod;

/// `SIGXFSZ`, on every platform that this is built for.
const FILE_TOO_LARGE: i32 = 25;

/// Why the process ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownReason {
    /// Somebody asked it to.
    Signal,
    /// Something died without which nothing may go on.
    Failure(String),
}

/// The two signals that ask a process to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from here on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn listen() -> std::io::Result<Self> {
        // Where a limit on the size of files is set, a write beyond it is then an error like a full disk's,
        // instead of the end of the process. Once somebody listens, the default never comes back.
        drop(signal(SignalKind::from_raw(FILE_TOO_LARGE))?);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs a house until it is asked to end or cannot go on, and drains it. A second signal while it
/// drains ends at once; what was under way is then found as interrupted by the next process.
pub async fn run_until_shutdown(mut pod: Pod, signals: &mut Signals) -> ShutdownReason {
    let why = tokio::select! {
        () = signals.next() => ShutdownReason::Signal,
        fallen = pod.wait_failed() => ShutdownReason::Failure(fallen),
    };
    match &why {
        ShutdownReason::Signal => tracing::info!("process drains"),
        ShutdownReason::Failure(what) => tracing::error!(error.message = what, "background task failed, draining"),
    }
    tokio::select! {
        () = pod.shutdown() => tracing::info!("process ended"),
        () = signals.next() => tracing::warn!("process ended before it was drained"),
    }
    why
}
