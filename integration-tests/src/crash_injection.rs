//! Pulling the plug at a chosen point: stores that count what is written through them, and end the
//! process at one of the writes as `kill -9` would, without a drop or a flush.
//!
//! Every effect of a run stands between two writes (the audit's bracket, a reservation and its
//! settlement, the journal), so these points lie before and after each effect too. Nothing of this is
//! in the product: it is put around the stores by [`greenroom_supervisor::compose::Extras`].

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greenroom_registry::Stores;

mod audit;
mod runs;
mod values;

/// On which side of a write the plug is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashSide {
    /// Nothing of the write has happened.
    Before,
    /// It is durable, and its caller never learns of it.
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

/// What counts, and ends the process.
#[derive(Debug)]
pub struct CrashPoint {
    seen: AtomicU64,
    at: u64,
    side: CrashSide,
}

impl CrashPoint {
    /// A plug that is pulled at the write of this number, counted from 1; never at 0.
    #[must_use]
    pub fn new(at: u64, side: CrashSide) -> Arc<Self> {
        Arc::new(Self { seen: AtomicU64::new(0), at, side })
    }

    /// How many writes there were so far.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// Stores whose every write is counted.
    #[must_use]
    pub fn around(self: &Arc<Self>, stores: Stores) -> Stores {
        let Stores {
            runs,
            journal,
            audit,
            ledger,
            context,
            artifacts,
            definitions,
            idempotency,
            memory,
            maintenance: upkeep,
        } = stores;
        let plug = || Arc::clone(self);
        Stores {
            runs: Arc::new(runs::Runs { inner: runs, plug: plug() }),
            journal: Arc::new(runs::Journals { inner: journal, plug: plug() }),
            audit: Arc::new(audit::Audit { inner: audit, plug: plug() }),
            ledger: Arc::new(audit::CrashingLedger { inner: ledger, plug: plug() }),
            context: Arc::new(values::Contexts { inner: context, plug: plug() }),
            artifacts: Arc::new(values::CrashingArtifacts { inner: artifacts, plug: plug() }),
            definitions: Arc::new(values::CrashingDefinitions { inner: definitions, plug: plug() }),
            idempotency: Arc::new(values::CrashingIdempotency { inner: idempotency, plug: plug() }),
            memory: Arc::new(values::Memories { inner: memory, plug: plug() }),
            maintenance: Arc::new(values::CrashingMaintenance { inner: upkeep, plug: plug() }),
        }
    }

    async fn write<T>(&self, write: impl Future<Output = T> + Send) -> T {
        let is_here = self.hit();
        let done = write.await;
        if is_here {
            std::process::abort();
        }
        done
    }

    /// Counts a write; true if the process ends as soon as it is durable. What is only handed in is
    /// waited for then, so that the point is the same in every run.
    fn hit(&self) -> bool {
        let is_here = self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.at;
        if is_here && self.side == CrashSide::Before {
            std::process::abort();
        }
        is_here
    }
}
