//! Notices processes of pods that end by themselves: a pod that has crashed is declared dead like one that has no time to
//! renew its lease, and only the second is no fault of its own.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::moment::{HarnessClock, Moment};

/// Interval between two looks at the processes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The process of a pod: its id, or zero if there is none or the harness ends it.
#[derive(Debug, Clone, Default)]
pub struct ProcessId(Arc<AtomicU32>);

impl ProcessId {
    /// Another process runs.
    pub fn set(&self, id: u32) {
        self.0.store(id, Ordering::Release);
    }

    /// The harness ends the process.
    pub fn clear(&self) {
        self.set(0);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// A process that has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessExit {
    /// The name of its pod.
    pub pod: String,
    /// When that was noticed.
    pub at: Moment,
}

/// Watches the processes of all pods.
#[derive(Debug)]
pub struct ExitWatch {
    clock: HarnessClock,
    processes: Vec<(String, ProcessId)>,
    exits: Mutex<Vec<ProcessExit>>,
}

/// What is known of the process of a pod.
#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    id: u32,
    is_running: bool,
}

impl ExitWatch {
    /// A watch of these processes, each with the name of its pod.
    #[must_use]
    pub fn new(clock: HarnessClock, processes: Vec<(String, ProcessId)>) -> Self {
        Self { clock, processes, exits: Mutex::default() }
    }

    /// Watches until it is dropped.
    pub async fn watch(&self) {
        let mut watched = vec![Watched::default(); self.processes.len()];
        loop {
            for (watched, (pod, process)) in watched.iter_mut().zip(&self.processes) {
                if watched.look(process.get(), has_ended) {
                    let exit = ProcessExit { pod: pod.clone(), at: self.clock.now() };
                    self.exits.lock().unwrap_or_else(PoisonError::into_inner).push(exit);
                }
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Every exit so far.
    #[must_use]
    pub fn exits(&self) -> Vec<ProcessExit> {
        self.exits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Watched {
    /// Looks at the process that runs now. True if it, or the one before, has ended by itself.
    fn look(&mut self, id: u32, has_ended: impl Fn(u32) -> bool) -> bool {
        // The harness starts a process instead of one that has ended; one that runs it ends first.
        let is_replaced = self.is_running && id != 0 && id != self.id;
        if id != self.id {
            *self = Self { id, is_running: id != 0 };
        }
        let is_ended = self.is_running && has_ended(id);
        self.is_running &= !is_ended;
        is_replaced || is_ended
    }
}

/// True if there is no such process, or only its exit status is left.
fn has_ended(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state follows the name of the program in parentheses.
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_by_itself_is_noticed_once_and_one_that_is_ended_never() {
        let mut watched = Watched::default();
        assert!(!watched.look(0, |_| true) && !watched.look(7, |_| false));
        assert!(watched.look(7, |_| true) && !watched.look(7, |_| true));
        // Another one is started instead of it, and ended by the harness.
        assert!(!watched.look(8, |_| false) && !watched.look(0, |_| true) && !watched.look(9, |_| false));
        // It had ended, and was replaced, between two looks.
        assert!(watched.look(10, |_| false));
    }

    #[test]
    fn the_own_process_has_not_ended() {
        assert!(!has_ended(std::process::id()));
        assert!(has_ended(u32::MAX));
    }
}
