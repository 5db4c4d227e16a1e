//! A transaction outside of the lanes, for what stands apart from units. A pod that is dead cannot begin one.

use std::ops::{Deref, DerefMut};

use crate::error::StoreError;
use crate::postgres::error::{sqlx_error, write_error};
use crate::postgres::handle::StoreHandle;
use crate::postgres::readers::{Reader, Readers};

/// The row of the pod is locked, so that no pod declares it dead before the transaction has ended.
const LOCK_POD: &str = "SELECT 1 FROM pods WHERE id = $1 AND NOT dead FOR KEY SHARE";

/// A transaction. It is rolled back when it is dropped, because its connection is closed then.
pub(super) struct StoreTransaction {
    reader: Reader,
    readers: Readers,
}

impl Deref for StoreTransaction {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for StoreTransaction {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

/// Begins a transaction.
pub(super) async fn begin(store: &StoreHandle) -> Result<StoreTransaction, StoreError> {
    store.check_open()?;
    let readers = store.readers.clone();
    let mut transaction = StoreTransaction { reader: readers.acquire().await?, readers };
    sqlx::raw_sql("BEGIN").execute(&mut *transaction).await.map_err(|error| sqlx_error(&error))?;
    let locked = sqlx::query(LOCK_POD).bind(store.pod.id).fetch_optional(&mut *transaction).await;
    match locked.map_err(|error| sqlx_error(&error))? {
        Some(_) => Ok(transaction),
        None => Err(StoreError::PodDead),
    }
}

/// Commits a transaction. If the connection is lost meanwhile, the outcome is unknown.
pub(super) async fn commit(mut transaction: StoreTransaction) -> Result<(), StoreError> {
    sqlx::raw_sql("COMMIT").execute(&mut *transaction).await.map_err(|error| write_error(&error))?;
    let StoreTransaction { reader, readers } = transaction;
    readers.release(reader);
    Ok(())
}
