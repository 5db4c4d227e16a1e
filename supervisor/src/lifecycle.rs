//! The end of the process: a first signal drains the pod, a second one ends it at once. The failure of
//! a part that the pod cannot work without drains it too.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::pod::Pod;

/// `SIGXFSZ`, on every platform that this is built for.
const FILE_TOO_LARGE: i32 = 25;

/// Why the process shuts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownReason {
    /// A signal.
    Signal,
    /// A part failed that the pod cannot work without; its failure as a message.
    Failure(String),
}

/// The signals that shut a process down: SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from this call on.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn listen() -> std::io::Result<Self> {
        // With a limit on file sizes, a write beyond it then fails like a write to a full disk instead of
        // killing the process. The handler stays installed after the listener is dropped.
        drop(signal(SignalKind::from_raw(FILE_TOO_LARGE))?);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for a signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs a pod until a signal arrives or a part fails, and drains it. A second signal during the drain
/// ends it at once; the next process then recovers the requests in flight as interrupted.
pub async fn run_until_shutdown(mut pod: Pod, signals: &mut Signals) -> ShutdownReason {
    let reason = tokio::select! {
        () = signals.next() => ShutdownReason::Signal,
        failure = pod.wait_failed() => ShutdownReason::Failure(failure),
    };
    match &reason {
        ShutdownReason::Signal => tracing::info!("draining"),
        ShutdownReason::Failure(message) => {
            tracing::error!(error.message = message, "background task failed, draining")
        }
    }
    tokio::select! {
        () = pod.shutdown() => tracing::info!("process ended"),
        () = signals.next() => tracing::warn!("process ended before the drain was complete"),
    }
    reason
}
