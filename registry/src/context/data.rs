//! The data of one shared context: the fold of the changes in the journal of its run.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_protocol as protocol;
use protocol::request::ContextChange;
use protocol::value::size_bytes;
use protocol::{ContextKey, Json, Timestamp};

use crate::context::{
    CONTEXT_KEYS_MAX, CONTEXT_VALUE_BYTES_MAX, ContextError, ContextPut, Snapshot, Version, Versioned,
};

/// The value of a key. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct ContextValue {
    /// The version of its last change.
    pub version: Version,
    /// The value.
    pub value: Arc<Json>,
    /// When it expires.
    pub until: Option<Timestamp>,
}

impl ContextValue {
    fn is_unexpired(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

/// One context. The same entries give the same data, whenever they are replayed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContextData {
    version: Version,
    values: BTreeMap<ContextKey, ContextValue>,
}

impl ContextData {
    /// A context with these values, all of one version.
    ///
    /// # Errors
    /// [`ContextError`] if they exceed a limit.
    pub fn new(values: impl IntoIterator<Item = (ContextKey, Json)>, version: Version) -> Result<Self, ContextError> {
        let mut data = Self::default();
        for (key, value) in values {
            check_size(&key, &value)?;
            data.values.insert(key, ContextValue { version, value: Arc::new(value), until: None });
        }
        data.version = version;
        if data.values.len() > CONTEXT_KEYS_MAX { Err(ContextError::TooManyKeys) } else { Ok(data) }
    }

    /// The version of the last change.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// All values, expired ones included.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&ContextKey, &ContextValue)> {
        self.values.iter()
    }

    /// Decides whether a write may become the next change.
    ///
    /// # Errors
    /// [`ContextError`], and then nothing changes.
    pub fn check(&self, put: &ContextPut, now: Timestamp) -> Result<(), ContextError> {
        let ContextPut { key, expect, change, until: _ } = put;
        let current = self.unexpired(key, now);
        let found = current.map_or(Version(0), |current| current.version);
        if expect.is_some_and(|expect| expect != found) {
            return Err(ContextError::Conflict { key: key.clone(), found });
        }
        if current.is_none() && self.values.values().filter(|value| value.is_unexpired(now)).count() >= CONTEXT_KEYS_MAX
        {
            return Err(ContextError::TooManyKeys);
        }
        match (change, current.map(|current| &*current.value)) {
            (ContextChange::Put(value), _) => check_size(key, value),
            (ContextChange::Append(_), None) => Ok(()),
            (ContextChange::Append(item), Some(list @ Json::Array(_))) => {
                check_bytes(key, size_bytes(list).saturating_add(size_bytes(item)).saturating_add(1))
            }
            (ContextChange::Append(_), Some(_)) => Err(ContextError::NotAList { key: key.clone() }),
        }
    }

    /// Applies a change of the journal, written at `at` with this number, and returns the new value.
    pub fn apply(
        &mut self,
        version: Version,
        at: Timestamp,
        key: &ContextKey,
        change: &ContextChange,
        until: Option<Timestamp>,
    ) -> ContextValue {
        let value = match change {
            ContextChange::Put(value) => value.clone(),
            ContextChange::Append(item) => {
                let list = self.unexpired(key, at).and_then(|current| current.value.as_array());
                Json::Array(list.into_iter().flatten().chain([item]).cloned().collect())
            }
        };
        if !self.values.contains_key(key) && self.values.len() >= CONTEXT_KEYS_MAX {
            self.values.retain(|_, value| value.is_unexpired(at));
        }
        let value = ContextValue { version, value: Arc::new(value), until };
        self.insert(key.clone(), value.clone());
        value
    }

    /// Inserts a changed value.
    pub(crate) fn insert(&mut self, key: ContextKey, value: ContextValue) {
        self.version = self.version.max(value.version);
        self.values.insert(key, value);
    }

    /// Returns the values of these keys, or of all if there are none.
    #[must_use]
    pub fn snapshot(&self, keys: &[ContextKey], now: Timestamp) -> Snapshot {
        let read = |(key, value): (&ContextKey, &ContextValue)| {
            let versioned = Versioned { version: value.version, value: value.value.as_ref().clone() };
            value.is_unexpired(now).then(|| (key.clone(), versioned))
        };
        let values = match keys {
            [] => self.values.iter().filter_map(read).collect(),
            keys => keys.iter().filter_map(|key| read(self.values.get_key_value(key)?)).collect(),
        };
        Snapshot { version: self.version, values }
    }

    fn unexpired(&self, key: &ContextKey, now: Timestamp) -> Option<&ContextValue> {
        self.values.get(key).filter(|value| value.is_unexpired(now))
    }
}

fn check_size(key: &ContextKey, value: &Json) -> Result<(), ContextError> {
    check_bytes(key, size_bytes(value))
}

fn check_bytes(key: &ContextKey, bytes: u64) -> Result<(), ContextError> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > CONTEXT_VALUE_BYTES_MAX {
        return Err(ContextError::TooLarge { key: key.clone(), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
