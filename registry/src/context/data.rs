//! One shared context, without a store: who may write, which version a key has, what is still there.

use std::collections::BTreeMap;

use greenroom_protocol as protocol;
use protocol::request::ContextChange;
use protocol::value::size_bytes;
use protocol::{ContextKey, Json, Timestamp};

use crate::context::{
    CONTEXT_KEYS_MAX, CONTEXT_VALUE_BYTES_MAX, ContextError, ContextEvent, ContextPut, Snapshot, Version, Versioned,
};
use crate::runs::Fence;

/// What lies under a key. A value whose time was up leaves its version behind, so that watchers see
/// it go and nobody writes over what they have not seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) version: Version,
    pub(crate) value: Option<Json>,
    pub(crate) until: Option<Timestamp>,
}

impl Slot {
    fn live(&self, now: Timestamp) -> Option<&Json> {
        self.value.as_ref().filter(|_| self.until.is_none_or(|until| until > now))
    }
}

/// A key that was changed, as it has to be kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Changed {
    pub(crate) key: ContextKey,
    pub(crate) slot: Slot,
}

/// One context.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Board {
    pub(crate) fence: Fence,
    pub(crate) version: Version,
    pub(crate) slots: BTreeMap<ContextKey, Slot>,
}

impl Board {
    /// Hands the context to its next owner.
    pub(crate) fn claim(&mut self) -> Fence {
        self.fence = Fence(self.fence.0.saturating_add(1));
        self.fence
    }

    /// Refuses an owner who is not the last one.
    pub(crate) fn admit(&self, fence: Fence) -> Result<(), ContextError> {
        if fence == self.fence { Ok(()) } else { Err(ContextError::Fenced) }
    }

    /// Writes one key.
    pub(crate) fn put(&mut self, fence: Fence, put: ContextPut, now: Timestamp) -> Result<Changed, ContextError> {
        self.admit(fence)?;
        let ContextPut { key, expect, change, ttl } = put;
        let slot = self.slots.get(&key);
        let live = slot.and_then(|slot| slot.live(now));
        let found = slot.filter(|_| live.is_some()).map_or(Version(0), |slot| slot.version);
        if expect.is_some_and(|expect| expect != found) {
            return Err(ContextError::Conflict { key, found });
        }
        if slot.is_none() && self.slots.len() >= CONTEXT_KEYS_MAX {
            return Err(ContextError::TooManyKeys);
        }
        let value = match change {
            ContextChange::Put(value) => value,
            ContextChange::Append(item) => match live {
                None => Json::Array(vec![item]),
                Some(Json::Array(items)) => Json::Array(items.iter().cloned().chain([item]).collect()),
                Some(_) => return Err(ContextError::NotAList { key }),
            },
        };
        let bytes = usize::try_from(size_bytes(&value)).unwrap_or(usize::MAX);
        if bytes > CONTEXT_VALUE_BYTES_MAX {
            return Err(ContextError::TooLarge { key, bytes });
        }
        let until = ttl.map(|ttl| now.plus(ttl));
        Ok(self.set(key, Some(value), until))
    }

    /// Removes the values whose time is up.
    pub(crate) fn expire(&mut self, fence: Fence, now: Timestamp) -> Result<Vec<Changed>, ContextError> {
        self.admit(fence)?;
        let is_over = |slot: &Slot| slot.value.is_some() && slot.live(now).is_none();
        let keys: Vec<_> = self.slots.iter().filter(|(_, slot)| is_over(slot)).map(|(key, _)| key.clone()).collect();
        Ok(keys.into_iter().map(|key| self.set(key, None, None)).collect())
    }

    /// One value.
    pub(crate) fn read(&self, key: &ContextKey, now: Timestamp) -> Option<Versioned> {
        let slot = self.slots.get(key)?;
        slot.live(now).map(|value| Versioned { version: slot.version, value: value.clone() })
    }

    /// Every value.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Snapshot {
        let values = self.slots.keys().filter_map(|key| Some((key.clone(), self.read(key, now)?))).collect();
        Snapshot { version: self.version, values }
    }

    /// The changes behind a version, in their order.
    pub(crate) fn changes(&self, after: Version) -> Vec<ContextEvent> {
        let mut events: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.version > after)
            .map(|(key, slot)| ContextEvent { version: slot.version, key: key.clone(), value: slot.value.clone() })
            .collect();
        events.sort_by_key(|event| event.version);
        events
    }

    fn set(&mut self, key: ContextKey, value: Option<Json>, until: Option<Timestamp>) -> Changed {
        self.version = Version(self.version.0.saturating_add(1));
        let slot = Slot { version: self.version, value, until };
        self.slots.insert(key.clone(), slot.clone());
        Changed { key, slot }
    }
}
