//! The keys that requests of this process have: one request at a time has a key, and alone reads and writes it in the
//! store. So the end of a key can be written again without knowing whether it was stored.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use greenroom_protocol::{ContentHash, TenantId};
use greenroom_registry::runs::DedupKey;
use tokio::sync::watch;

/// A key within its tenant.
pub(super) type TenantKey = (TenantId, DedupKey);

/// The claimed keys.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<TenantKey, Claim>>);

struct Claim {
    request_hash: ContentHash,
    /// Dropped when the claim ends, which notifies the requests that wait for it.
    ended: watch::Sender<()>,
}

/// The result of an attempt to claim a key.
pub(super) enum LocalClaim {
    /// The caller has the key until it calls [`Claims::release`].
    Acquired,
    /// The same request has it; this receiver is closed when it ends.
    Busy(watch::Receiver<()>),
    /// Another request has it.
    Conflict,
}

impl Claims {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantKey, Claim>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a key for a request, unless a request has it.
    pub(super) fn acquire(&self, key: &TenantKey, request_hash: &ContentHash) -> LocalClaim {
        let mut all = self.all();
        match all.get(key) {
            Some(claim) if claim.request_hash == *request_hash => LocalClaim::Busy(claim.ended.subscribe()),
            Some(_) => LocalClaim::Conflict,
            None => {
                let claim = Claim { request_hash: *request_hash, ended: watch::Sender::new(()) };
                all.insert(key.clone(), claim);
                LocalClaim::Acquired
            }
        }
    }

    /// Ends a claim, and notifies all requests that wait for it.
    pub(super) fn release(&self, key: &TenantKey) {
        drop(self.all().remove(key));
    }
}
