//! The memory of all components that are executed at one moment.
//!
//! An execution reserves what it may use at most, so the executions together never use more than the setting allows. One
//! that finds too little waits for a bounded time: a component that calls another agent holds its memory meanwhile, so
//! executions that wait for each other must not wait forever.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::component_file::unavailable;
use super::engine::INSTANCES_MAX;

/// Longest wait for memory.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Retry-after of an execution that has found no memory.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Memory in MiB that executions reserve.
pub(super) struct MemoryBudget {
    free: Semaphore,
    total_mib: u32,
}

impl MemoryBudget {
    pub(super) fn new(total_mib: u32) -> Self {
        Self { free: Semaphore::new(total_mib as usize), total_mib }
    }

    /// Reserves memory for one execution.
    ///
    /// # Errors
    /// [`ErrorCode::RuntimeUnavailable`] if the pod has never so much; [`ErrorCode::Overloaded`] if there is too little for
    /// longer than an execution waits.
    pub(super) async fn reserve(&self, mib: u32) -> Result<SemaphorePermit<'_>, Cause> {
        if mib > self.total_mib {
            let message = format!(
                "the component may use {mib} MiB, and the setting `runtimes.wasm.memory_mib` of this pod allows {} MiB to \
                 all components together",
                self.total_mib
            );
            return Err(unavailable(&message));
        }
        // The engine has a bounded number of instances, so that many small ones are bounded too.
        let share = mib.max(self.total_mib.div_ceil(INSTANCES_MAX));
        match tokio::time::timeout(WAIT_MAX, self.free.acquire_many(share)).await {
            Ok(Ok(reservation)) => Ok(reservation),
            Ok(Err(_)) => Err(Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down")),
            Err(_) => {
                let message = "the components of this pod use all of the memory that `runtimes.wasm.memory_mib` allows";
                Err(Cause::new(ErrorCode::Overloaded, message).with_retry_after(RETRY_AFTER))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn executions_share_the_memory_and_do_not_wait_forever() {
        let budget = MemoryBudget::new(1_000);
        assert_eq!(budget.reserve(1_001).await.unwrap_err().code, ErrorCode::RuntimeUnavailable);
        let first = budget.reserve(900).await.unwrap();
        let _second = budget.reserve(100).await.unwrap();
        let cause = budget.reserve(1).await.unwrap_err();
        assert_eq!((cause.code, cause.retry_after_ms), (ErrorCode::Overloaded, Some(1_000)));
        drop(first);
        drop(budget.reserve(900).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn small_executions_are_bounded_by_the_instances_of_the_engine() {
        let budget = MemoryBudget::new(INSTANCES_MAX * 8);
        let mut reservations = Vec::new();
        for _ in 0..INSTANCES_MAX {
            reservations.push(budget.reserve(1).await.unwrap());
        }
        assert_eq!(budget.reserve(1).await.unwrap_err().code, ErrorCode::Overloaded);
    }
}
