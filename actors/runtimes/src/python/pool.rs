//! The processes that wait for the next call, and the bound on those that work.
//!
//! An execution that waits for another agent works too, so the bound is one for each depth of the call chain: an agent
//! waits for deeper ones only, and no ring of executions can wait for each other. A process is reused by the same handler
//! for the same tenant only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use greenroom_definitions::PythonHandler;
use greenroom_protocol::TenantId;
use greenroom_protocol::limits::HOPS_MAX;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::events::{StopReason, WorkerObserver};
use super::settings::Settings;
use super::worker::Worker;

/// What a process can be reused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkerKey {
    pub(super) tenant: TenantId,
    pub(super) handler: PythonHandler,
    /// When the file of the module was changed last.
    pub(super) changed_at: Option<SystemTime>,
    pub(super) memory_mib: u64,
    pub(super) network: bool,
}

/// The processes.
pub(super) struct Pool {
    /// The executions that may begin, by the depth of the call chain.
    depths: Vec<Semaphore>,
    /// The processes that wait, the one that was used last at the end.
    idle: Mutex<Vec<(WorkerKey, Worker)>>,
    idle_max: usize,
    calls_max: u32,
    age_max: Duration,
    observer: Arc<dyn WorkerObserver>,
}

impl Pool {
    /// A pool without processes.
    pub(super) fn new(settings: &Settings, observer: Arc<dyn WorkerObserver>) -> Self {
        let workers_max = settings.workers_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            depths: std::iter::repeat_with(|| Semaphore::new(workers_max)).take(HOPS_MAX + 1).collect(),
            idle: Mutex::default(),
            idle_max: workers_max,
            calls_max: settings.worker_calls_max,
            age_max: settings.worker_age_max,
            observer,
        }
    }

    /// Waits, in the order of arrival, until an execution of this depth may begin.
    pub(super) async fn admit(&self, depth: usize) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.depths.get(depth.min(HOPS_MAX))?.acquire().await.ok()
    }

    /// Takes the process that has served this key last.
    pub(super) fn take(&self, key: &WorkerKey) -> Option<BusyWorker<'_>> {
        let (mut ended, mut found) = (Vec::new(), None);
        {
            let mut idle = self.lock();
            while let Some(position) = idle.iter().rposition(|(known, _)| known == key) {
                let (_, mut worker) = idle.remove(position);
                if worker.age() < self.age_max && worker.is_alive() {
                    found = Some(worker);
                    break;
                }
                ended.push(worker);
            }
        }
        self.stop_all(ended, StopReason::Recycled);
        found.map(|worker| self.busy(worker))
    }

    /// A process that has started for a call.
    pub(super) fn busy(&self, worker: Worker) -> BusyWorker<'_> {
        BusyWorker { pool: self, worker: Some(worker) }
    }

    /// The observer of the processes.
    pub(super) fn observer(&self) -> &dyn WorkerObserver {
        &*self.observer
    }

    fn put(&self, key: WorkerKey, worker: Worker) {
        let (mut unused, mut recycled) = (Vec::new(), Vec::new());
        if worker.calls >= self.calls_max || worker.age() >= self.age_max {
            recycled.push(worker);
        } else {
            let mut idle = self.lock();
            // Those that no call takes any more, such as those of a module that has changed, end here.
            recycled.extend(idle.extract_if(.., |(_, idle)| idle.age() >= self.age_max).map(|(_, idle)| idle));
            idle.push((key, worker));
            while idle.len() > self.idle_max {
                unused.push(idle.remove(0).1);
            }
        }
        self.stop_all(recycled, StopReason::Recycled);
        self.stop_all(unused, StopReason::Unused);
    }

    /// Ends processes outside of the lock, because their folders are removed.
    fn stop_all(&self, workers: Vec<Worker>, reason: StopReason) {
        for worker in workers {
            self.observer.on_stop(reason);
            drop(worker);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(WorkerKey, Worker)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.lock());
        self.stop_all(idle.into_iter().map(|(_, worker)| worker).collect(), StopReason::Unused);
    }
}

/// A process that executes a call. If the call is dropped, the process is killed.
pub(super) struct BusyWorker<'a> {
    pool: &'a Pool,
    worker: Option<Worker>,
}

impl BusyWorker<'_> {
    /// The process.
    pub(super) fn worker(&mut self) -> Option<&mut Worker> {
        self.worker.as_mut()
    }

    /// Returns the process to the pool.
    pub(super) fn release(mut self, key: WorkerKey) {
        if let Some(mut worker) = self.worker.take() {
            worker.calls = worker.calls.saturating_add(1);
            self.pool.put(key, worker);
        }
    }

    /// Ends the process.
    pub(super) fn stop(mut self, reason: StopReason) {
        self.pool.stop_all(self.worker.take().into_iter().collect(), reason);
    }
}

impl Drop for BusyWorker<'_> {
    fn drop(&mut self) {
        self.pool.stop_all(self.worker.take().into_iter().collect(), StopReason::Cancelled);
    }
}
