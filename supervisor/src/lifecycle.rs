//! The end of the process. A first signal drains the pod, or interrupts a command; a second one ends the
//! process at once. The failure of a part that the pod cannot work without drains it too.
//!
//! A command runs on a thread of its own and is offered each signal. So the process ends even if the command
//! waits for a terminal, a pipe or a disk that never replies.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::pod::Pod;

/// `SIGXFSZ`, on every platform that this is built for.
const FILE_TOO_LARGE: i32 = 25;
/// Longest time in which a command accepts a signal; beyond it, the command blocks and is left.
const SIGNAL_ACCEPT_MAX: Duration = Duration::from_secs(1);
/// The exit code of a command that panicked, as that of a program of Rust is.
const PANICKED: u8 = 101;
/// The stack of a command, as large as that of a main thread.
const COMMAND_STACK_BYTES: usize = 8 * 1024 * 1024;

/// Why the process shuts down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownReason {
    /// A signal.
    Signal,
    /// A part failed that the pod cannot work without; its failure as a message.
    Failure(String),
    /// Another pod has declared this one dead. The process can start a pod again, which is another one.
    DeclaredDead,
}

/// A signal that ends a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSignal {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGTERM, as a service manager sends it.
    Terminate,
    /// SIGHUP, as a terminal or a remote shell sends it when it is closed.
    Hangup,
}

impl ProcessSignal {
    /// The exit code of a command that the signal has interrupted, as shells report it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Hangup => 129,
        }
    }
}

impl fmt::Display for ProcessSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        })
    }
}

/// The signals of a command.
pub struct Signals(mpsc::Receiver<SignalOffer>);

struct SignalOffer {
    signal: ProcessSignal,
    accepted: oneshot::Sender<()>,
}

impl Signals {
    /// Waits for a signal and accepts it.
    pub async fn next(&mut self) -> ProcessSignal {
        match self.0.recv().await {
            Some(SignalOffer { signal, accepted }) => {
                // The process does not wait any more if the command has needed too long.
                let _ = accepted.send(());
                signal
            }
            None => std::future::pending().await,
        }
    }
}

/// Listens for the signals of the process.
struct Listener {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process ignores hangups, or if that is unknown.
    hangup: Option<Signal>,
}

impl Listener {
    fn listen() -> std::io::Result<Self> {
        // With a limit on file sizes, a write beyond it then fails like a write to a full disk instead of
        // killing the process. The handler stays installed after the listener is dropped.
        drop(signal(SignalKind::from_raw(FILE_TOO_LARGE))?);
        let hangup = if inherits_hangup() { Some(signal(SignalKind::hangup())?) } else { None };
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    async fn next(&mut self) -> ProcessSignal {
        tokio::select! {
            _ = self.terminate.recv() => ProcessSignal::Terminate,
            _ = self.interrupt.recv() => ProcessSignal::Interrupt,
            () = wait_for_signal(&mut self.hangup) => ProcessSignal::Hangup,
        }
    }
}

/// Waits for a signal; without one, for ever.
async fn wait_for_signal(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// True if this process was started to end at a hangup. One that `nohup` has started ignores it and must go on doing so,
/// which a handler would change. Where the system does not state it, no handler is installed.
fn inherits_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_hangup_ignored(&status) == Some(false))
}

/// Whether SIGHUP, the first signal, is one of those that a process ignores, by its status in `/proc`.
fn is_hangup_ignored(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    Some(u64::from_str_radix(ignored.trim(), 16).ok()? & 1 == 1)
}

/// Runs a command on a thread and offers it each signal. Returns its exit code, or that of a signal that it does
/// not accept in time.
///
/// # Errors
/// Those of the operating system for the signals and the thread.
pub async fn run_command<F: Future<Output = u8>>(
    runtime: &Runtime,
    command: impl FnOnce(Signals) -> F + Send + 'static,
) -> std::io::Result<u8> {
    let mut listener = Listener::listen()?;
    let (offers, receiver) = mpsc::channel(1);
    let (code_tx, mut code) = oneshot::channel();
    let runtime = runtime.handle().clone();
    let thread = std::thread::Builder::new().name("command".to_owned()).stack_size(COMMAND_STACK_BYTES);
    thread.spawn(move || {
        // The receiver is dropped if the process has left the command.
        let _ = code_tx.send(runtime.block_on(command(Signals(receiver))));
    })?;
    loop {
        // If the command has panicked, its sender is dropped.
        let signal = tokio::select! {
            ended = &mut code => return Ok(ended.unwrap_or(PANICKED)),
            signal = listener.next() => signal,
        };
        tokio::select! {
            ended = &mut code => return Ok(ended.unwrap_or(PANICKED)),
            is_accepted = offer(&offers, signal) => if !is_accepted { return Ok(signal.exit_code()) },
        }
    }
}

/// Offers a signal to the command; true if it accepts it in time.
async fn offer(offers: &mpsc::Sender<SignalOffer>, signal: ProcessSignal) -> bool {
    let (accepted, is_accepted) = oneshot::channel();
    let offered = async { offers.send(SignalOffer { signal, accepted }).await.is_ok() && is_accepted.await.is_ok() };
    tokio::time::timeout(SIGNAL_ACCEPT_MAX, offered).await.unwrap_or(false)
}

/// Runs a pod until a signal arrives or a part fails, and drains it. A second signal during the drain
/// ends it at once; the next process then recovers the requests in flight as interrupted. A pod that was declared
/// dead is dropped instead: none of its requests can end. The future is boxed here, because it contains the pod.
pub fn run_until_shutdown(pod: Pod, signals: &mut Signals) -> impl Future<Output = ShutdownReason> {
    Box::pin(run(pod, signals))
}

async fn run(mut pod: Pod, signals: &mut Signals) -> ShutdownReason {
    let cluster = Arc::clone(&pod.stores().cluster);
    let reason = tokio::select! {
        // The parts of a dead pod fail too.
        biased;
        () = cluster.wait_dead() => {
            tracing::error!("another pod has declared this one dead, dropping what is under way");
            ShutdownReason::DeclaredDead
        }
        signal = signals.next() => {
            tracing::info!(process.signal = %signal, "draining");
            ShutdownReason::Signal
        }
        failure = pod.wait_failed() => {
            tracing::error!(error.message = failure, "background task failed, draining");
            ShutdownReason::Failure(failure)
        }
    };
    if reason == ShutdownReason::DeclaredDead {
        return tokio::select! {
            () = pod.abandon() => reason,
            signal = signals.next() => {
                tracing::info!(process.signal = %signal, "process ended");
                ShutdownReason::Signal
            }
        };
    }
    tokio::select! {
        () = pod.shutdown() => tracing::info!("process ended"),
        signal = signals.next() => {
            tracing::warn!(process.signal = %signal, "process ended before the drain was complete");
        }
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ignores_hangups_is_recognised_by_its_status() {
        let status = |ignored: &str| format!("Name:\tgreenroom\nSigBlk:\t0000000000000001\nSigIgn:\t{ignored}\n");
        assert_eq!(is_hangup_ignored(&status("0000000000001001")), Some(true));
        assert_eq!(is_hangup_ignored(&status("0000000000001000")), Some(false));
        for unknown in ["", "SigIgn:", "SigIgn:\tx\n", "SigCgt:\t0000000000000001\n"] {
            assert_eq!(is_hangup_ignored(unknown), None, "{unknown}");
        }
    }
}
