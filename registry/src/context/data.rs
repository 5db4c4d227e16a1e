//! One shared context without a store: its fence, its versions, and which values have expired.

use std::collections::BTreeMap;

use greenroom_protocol as protocol;
use protocol::request::ContextChange;
use protocol::value::size_bytes;
use protocol::{ContextKey, Json, Timestamp};

use crate::context::{
    CONTEXT_KEYS_MAX, CONTEXT_VALUE_BYTES_MAX, ContextError, ContextEvent, ContextPut, Snapshot, Version, Versioned,
};
use crate::runs::Fence;

/// The value of a key. An expired value keeps its version, so that watchers see the change and no
/// caller overwrites a change that it has not read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredValue {
    pub(crate) version: Version,
    pub(crate) value: Option<Json>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl StoredValue {
    fn unexpired(&self, now: Timestamp) -> Option<&Json> {
        self.value.as_ref().filter(|_| self.expires_at.is_none_or(|expires_at| expires_at > now))
    }
}

/// A changed key, as it must be stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChangedValue {
    pub(crate) key: ContextKey,
    pub(crate) stored: StoredValue,
}

/// One context.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ContextData {
    pub(crate) fence: Fence,
    pub(crate) version: Version,
    pub(crate) values: BTreeMap<ContextKey, StoredValue>,
}

impl ContextData {
    /// Transfers the context to its next owner, and returns the owner's fence.
    pub(crate) fn claim(&mut self) -> Fence {
        self.fence = Fence(self.fence.0.saturating_add(1));
        self.fence
    }

    /// Rejects an owner that is not the last one.
    pub(crate) fn check_fence(&self, fence: Fence) -> Result<(), ContextError> {
        if fence == self.fence { Ok(()) } else { Err(ContextError::Fenced) }
    }

    /// Writes one key.
    pub(crate) fn put(&mut self, fence: Fence, put: ContextPut, now: Timestamp) -> Result<ChangedValue, ContextError> {
        self.check_fence(fence)?;
        let ContextPut { key, expect, change, ttl } = put;
        let stored = self.values.get(&key);
        let current = stored.and_then(|stored| stored.unexpired(now));
        let found = stored.filter(|_| current.is_some()).map_or(Version(0), |stored| stored.version);
        if expect.is_some_and(|expect| expect != found) {
            return Err(ContextError::Conflict { key, found });
        }
        if stored.is_none() && self.values.len() >= CONTEXT_KEYS_MAX {
            return Err(ContextError::TooManyKeys);
        }
        let value = match change {
            ContextChange::Put(value) => value,
            ContextChange::Append(item) => match current {
                None => Json::Array(vec![item]),
                Some(Json::Array(items)) => Json::Array(items.iter().cloned().chain([item]).collect()),
                Some(_) => return Err(ContextError::NotAList { key }),
            },
        };
        let bytes = usize::try_from(size_bytes(&value)).unwrap_or(usize::MAX);
        if bytes > CONTEXT_VALUE_BYTES_MAX {
            return Err(ContextError::TooLarge { key, bytes });
        }
        let expires_at = ttl.map(|ttl| now.saturating_add(ttl));
        Ok(self.set(key, Some(value), expires_at))
    }

    /// Removes the expired values.
    pub(crate) fn expire(&mut self, fence: Fence, now: Timestamp) -> Result<Vec<ChangedValue>, ContextError> {
        self.check_fence(fence)?;
        let is_expired = |stored: &StoredValue| stored.value.is_some() && stored.unexpired(now).is_none();
        let keys: Vec<_> =
            self.values.iter().filter(|(_, stored)| is_expired(stored)).map(|(key, _)| key.clone()).collect();
        Ok(keys.into_iter().map(|key| self.set(key, None, None)).collect())
    }

    /// Returns one value.
    pub(crate) fn read(&self, key: &ContextKey, now: Timestamp) -> Option<Versioned> {
        let stored = self.values.get(key)?;
        stored.unexpired(now).map(|value| Versioned { version: stored.version, value: value.clone() })
    }

    /// Returns every value.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let values = self.values.keys().filter_map(|key| Some((key.clone(), self.read(key, now)?))).collect();
        Snapshot { version: self.version, values }
    }

    /// Returns the changes after a version, in their order.
    pub(crate) fn changes(&self, after: Version) -> Vec<ContextEvent> {
        let mut events: Vec<_> = self
            .values
            .iter()
            .filter(|(_, stored)| stored.version > after)
            .map(|(key, stored)| ContextEvent {
                version: stored.version,
                key: key.clone(),
                value: stored.value.clone(),
            })
            .collect();
        events.sort_by_key(|event| event.version);
        events
    }

    fn set(&mut self, key: ContextKey, value: Option<Json>, expires_at: Option<Timestamp>) -> ChangedValue {
        self.version = Version(self.version.0.saturating_add(1));
        let stored = StoredValue { version: self.version, value, expires_at };
        self.values.insert(key.clone(), stored.clone());
        ChangedValue { key, stored }
    }
}
