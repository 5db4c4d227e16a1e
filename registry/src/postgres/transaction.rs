//! A transaction outside of the lanes, for what stands apart from units. A pod that is dead cannot begin one.

use sqlx::{Postgres, Transaction};

use crate::error::StoreError;
use crate::postgres::error::{Failure, sqlx_error};
use crate::postgres::handle::StoreHandle;

/// The row of the pod is locked, so that no pod declares it dead before the transaction has ended.
const LOCK_POD: &str = "SELECT 1 FROM pods WHERE id = $1 AND NOT dead FOR KEY SHARE";

/// Begins a transaction.
pub(super) async fn begin(store: &StoreHandle) -> Result<Transaction<'static, Postgres>, StoreError> {
    store.check_open()?;
    let mut transaction = store.readers.begin().await.map_err(|error| sqlx_error(&error))?;
    let locked = sqlx::query(LOCK_POD).bind(store.pod.id).fetch_optional(&mut *transaction).await;
    match locked.map_err(|error| sqlx_error(&error))? {
        Some(_) => Ok(transaction),
        None => Err(StoreError::PodDead),
    }
}

/// Commits a transaction. If the connection is lost meanwhile, the outcome is unknown.
pub(super) async fn commit(transaction: Transaction<'static, Postgres>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(|error| match Failure::from_error(&error) {
        Failure::Retry(error) | Failure::Rejected(error) => error,
        Failure::Unknown(_) => StoreError::OutcomeUnknown,
    })
}
