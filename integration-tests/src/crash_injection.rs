//! Crashes the process at a chosen write: decorators of the stores count every write and abort the process
//! at one of them as `kill -9` would, without a drop or a flush.
//!
//! Every effect of a run stands between two writes (the opening and closing of its audit entry, a
//! reservation and its settlement, the journal), so a crash at each write is also a crash before and
//! after each effect. The product contains none of this: the pod is assembled with decorated stores
//! through [`greenroom_supervisor::compose::Overrides`].

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_registry::Stores;

mod core;
mod values;

/// The side of a write on which the process crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashSide {
    /// The write has not started.
    Before,
    /// The write is durable, and its caller does not learn of it.
    After,
}

impl FromStr for CrashSide {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "before" => Ok(Self::Before),
            "after" => Ok(Self::After),
            other => anyhow::bail!("`{other}` is neither `before` nor `after`"),
        }
    }
}

/// Counts writes and aborts the process at one of them.
#[derive(Debug)]
pub struct CrashPoint {
    write_count: AtomicU64,
    at: u64,
    side: CrashSide,
}

impl CrashPoint {
    /// Crashes at the write of this number, counted from 1; 0 never crashes.
    #[must_use]
    pub fn new(at: u64, side: CrashSide) -> Arc<Self> {
        Arc::new(Self { write_count: AtomicU64::new(0), at, side })
    }

    /// Number of writes so far.
    #[must_use]
    pub fn write_count(&self) -> u64 {
        self.write_count.load(Ordering::SeqCst)
    }

    /// Decorates the stores so that every write is counted.
    #[must_use]
    pub fn wrap(self: &Arc<Self>, stores: Stores) -> Stores {
        let crash_point = || Arc::clone(self);
        let Stores { core, ledger, context, artifacts, definitions, memory, maintenance, .. } = stores.clone();
        Stores {
            core: Arc::new(core::CrashingCore { inner: core, crash_point: crash_point() }),
            ledger: Arc::new(core::CrashingLedger { inner: ledger, crash_point: crash_point() }),
            context: Arc::new(values::CrashingContext { inner: context, crash_point: crash_point() }),
            artifacts: Arc::new(values::CrashingArtifacts { inner: artifacts, crash_point: crash_point() }),
            definitions: Arc::new(values::CrashingDefinitions { inner: definitions, crash_point: crash_point() }),
            memory: Arc::new(values::CrashingMemory { inner: memory, crash_point: crash_point() }),
            maintenance: Arc::new(values::CrashingMaintenance { inner: maintenance, crash_point: crash_point() }),
            ..stores
        }
    }

    async fn write<T>(&self, write: impl Future<Output = T> + Send) -> T {
        let is_crash_point = self.hit();
        let result = write.await;
        if is_crash_point {
            std::process::abort();
        }
        result
    }

    /// Counts a write; true if the process aborts as soon as the write is durable. A write that was only
    /// submitted is awaited in that case, so that the point is the same in every run.
    fn hit(&self) -> bool {
        let is_crash_point = self.write_count.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        if is_crash_point && self.side == CrashSide::Before {
            std::process::abort();
        }
        is_crash_point
    }
}
