//! Crashes the process at a chosen write: a hook of the stores counts every write and aborts the process
//! at one of them as `kill -9` would, without a drop or a flush.
//!
//! Every effect of a run stands between two writes (the opening and closing of its audit entry, a
//! reservation and its settlement, the journal), so a crash at each write is also a crash before and
//! after each effect.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_registry::Stores;

use crate::store_hooks::{self, StoreHook};

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
        store_hooks::wrap(stores, self)
    }
}

impl StoreHook for CrashPoint {
    fn before_write(&self) -> bool {
        let is_crash_point = self.write_count.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        if is_crash_point && self.side == CrashSide::Before {
            std::process::abort();
        }
        is_crash_point
    }
}
