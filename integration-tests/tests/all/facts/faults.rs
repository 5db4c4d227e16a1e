//! Stores that fail one kind of read at the will of a test.

use std::sync::{Arc, Mutex, PoisonError};

use greenroom_integration_tests::store_hooks::{self, HookedRead, StoreHook};
use greenroom_registry::{StoreError, Stores};

/// Selects the read that fails.
#[derive(Debug, Default)]
pub(super) struct FaultSwitch(Mutex<Option<HookedRead>>);

impl FaultSwitch {
    pub(super) fn set(&self, fault: Option<HookedRead>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    pub(super) fn wrap(self: &Arc<Self>, stores: Stores) -> Stores {
        store_hooks::wrap(stores, self)
    }
}

impl StoreHook for FaultSwitch {
    fn before_read(&self, read: HookedRead) -> Result<(), StoreError> {
        let fault = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fault == Some(read) { Err(StoreError::Locked) } else { Ok(()) }
    }
}
