//! What this pod remembers of keys and principals. It counts at the revision at which it was read only, and the revision
//! that is used was read less than [`REVISION_AGE_MAX`] before: a revocation is known to every pod within a second,
//! and a pod that cannot read the revision accepts nothing that it remembers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greenroom_protocol::{Cause, PrincipalId, UserId};
use greenroom_registry::credential_store::{ApiKeyRecord, CredentialStore, SubjectRecord};

/// Age of the revision from which on the next caller reads it again.
const REVISION_INTERVAL: Duration = Duration::from_millis(300);
/// Age of a revision that callers use while one of them reads it.
const REVISION_AGE_MAX: Duration = Duration::from_millis(800);
/// Age of what is known of a principal: another pod may have seen a newer token.
const SUBJECT_AGE_MAX: Duration = Duration::from_secs(60);
/// Keys and principals that are remembered, each.
const ENTRIES_MAX: usize = 10_000;

/// Reads keys and principals.
pub(crate) struct Credentials {
    store: Arc<dyn CredentialStore>,
    revision: Mutex<Option<Revision>>,
    /// Locked by the caller that reads the revision.
    reading: tokio::sync::Mutex<()>,
    keys: Cache<UserId, Arc<ApiKeyRecord>>,
    subjects: Cache<PrincipalId, Option<Arc<SubjectRecord>>>,
}

#[derive(Clone, Copy)]
struct Revision {
    number: u64,
    /// Before it was read, so that a later revocation has a later time.
    read_at: Instant,
}

impl Credentials {
    /// Reads this store.
    pub(crate) fn new(store: Arc<dyn CredentialStore>) -> Self {
        Self {
            store,
            revision: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            keys: Cache::default(),
            subjects: Cache::default(),
        }
    }

    /// The store, to write.
    pub(crate) fn store(&self) -> &dyn CredentialStore {
        &*self.store
    }

    /// Returns a key, also one that is revoked or has ended. A key that does not exist is not remembered.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn find_key(&self, id: &UserId) -> Result<Option<Arc<ApiKeyRecord>>, Cause> {
        let revision = self.revision().await?;
        if let Some(key) = self.keys.get(id, revision, Duration::MAX) {
            return Ok(Some(key));
        }
        let read_at = Instant::now();
        let found = self.store.find_key(id).await.map_err(|error| error.cause())?.map(Arc::new);
        if let Some(key) = &found {
            self.keys.insert(id.clone(), Entry { revision, read_at, value: Arc::clone(key) });
        }
        Ok(found)
    }

    /// Returns what is known of a principal.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn find_subject(&self, id: &PrincipalId) -> Result<Option<Arc<SubjectRecord>>, Cause> {
        let revision = self.revision().await?;
        if let Some(subject) = self.subjects.get(id, revision, SUBJECT_AGE_MAX) {
            return Ok(subject);
        }
        let read_at = Instant::now();
        let found = self.store.find_subject(id).await.map_err(|error| error.cause())?.map(Arc::new);
        self.subjects.insert(id.clone(), Entry { revision, read_at, value: found.clone() });
        Ok(found)
    }

    /// Stores the rights of a token, from which on this pod uses them.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn save_rights(&self, id: &PrincipalId, rights: String) -> Result<(), Cause> {
        let saved = self.store.save_rights(id, rights).await.map_err(|error| error.cause());
        self.subjects.remove(id);
        saved
    }

    /// Reads the revision again for the next caller: this pod has changed it.
    pub(crate) fn forget_revision(&self) {
        *lock(&self.revision) = None;
    }

    /// The revision of the store, as it was less than [`REVISION_AGE_MAX`] before.
    async fn revision(&self) -> Result<u64, Cause> {
        if let Some(number) = self.known_revision(REVISION_INTERVAL) {
            return Ok(number);
        }
        let reading = match self.reading.try_lock() {
            Ok(reading) => reading,
            Err(_) => match self.known_revision(REVISION_AGE_MAX) {
                Some(number) => return Ok(number),
                None => self.reading.lock().await,
            },
        };
        // The caller before may have read it meanwhile.
        if let Some(number) = self.known_revision(REVISION_INTERVAL) {
            return Ok(number);
        }
        let read_at = Instant::now();
        let number = self.store.revision().await.map_err(|error| error.cause())?;
        *lock(&self.revision) = Some(Revision { number, read_at });
        drop(reading);
        Ok(number)
    }

    fn known_revision(&self, age_max: Duration) -> Option<u64> {
        let known = *lock(&self.revision);
        known.filter(|known| known.read_at.elapsed() < age_max).map(|known| known.number)
    }
}

/// What was read, by its name.
struct Cache<K, V>(Mutex<HashMap<K, Entry<V>>>);

struct Entry<V> {
    revision: u64,
    read_at: Instant,
    value: V,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    fn get(&self, key: &K, revision: u64, age_max: Duration) -> Option<V> {
        let entries = lock(&self.0);
        let entry = entries.get(key)?;
        let is_current = entry.revision == revision && entry.read_at.elapsed() < age_max;
        is_current.then(|| entry.value.clone())
    }

    /// Remembers a value. A full cache forgets everything, which costs one look into the store for each name in use.
    fn insert(&self, key: K, entry: Entry<V>) {
        let mut entries = lock(&self.0);
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(key, entry);
    }

    fn remove(&self, key: &K) {
        lock(&self.0).remove(key);
    }
}

/// A poisoned lock is still consistent: each value is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
