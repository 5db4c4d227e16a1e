//! The objects of one tenant, as a list of the store has them: which generations of each artifact exist, and what is
//! known of each.

use std::collections::HashMap;

use futures::StreamExt;
use futures::stream::BoxStream;
use greenroom_protocol::{ContentHash, Timestamp};

use crate::artifacts::key::{Generation, KeyGroup, ObjectKey, ObjectKind, TenantKeys};
use crate::artifacts::objects::Object;
use crate::error::StoreError;

/// The objects of one generation.
#[derive(Debug, Clone)]
pub(crate) struct StoredGeneration {
    pub(crate) id: Generation,
    /// Bytes of its content; `None` if only marks are there, because a put has not ended or was interrupted.
    pub(crate) bytes: Option<u64>,
    pub(crate) is_personal: bool,
    pub(crate) has_references: bool,
    pub(crate) tombstones: Vec<Timestamp>,
}

impl StoredGeneration {
    const fn new(id: Generation) -> Self {
        Self { id, bytes: None, is_personal: false, has_references: false, tombstones: Vec::new() }
    }

    /// True if it has its content, and no sweep has given it up: only such a generation is shared by a later put.
    pub(crate) const fn is_live(&self) -> bool {
        self.bytes.is_some() && self.tombstones.is_empty()
    }

    /// True if a tombstone is older than this moment, and none is younger.
    pub(crate) fn is_expired(&self, cutoff: Timestamp) -> bool {
        self.tombstones.iter().max().is_some_and(|at| *at < cutoff)
    }

    /// The key of one of its objects.
    pub(crate) const fn key(&self, group: KeyGroup, kind: ObjectKind) -> ObjectKey {
        ObjectKey { group, generation: self.id, kind }
    }

    /// The keys of its content and its marks.
    pub(crate) fn content_keys(&self, group: KeyGroup) -> impl Iterator<Item = ObjectKey> {
        let content = self.bytes.map(|_| ObjectKind::Content);
        let personal = self.is_personal.then_some(ObjectKind::Personal);
        let references = self.has_references.then_some(ObjectKind::References);
        let id = self.id;
        let kinds = [content, personal, references].into_iter().flatten();
        kinds.map(move |kind| ObjectKey { group, generation: id, kind })
    }

    /// The keys of its tombstones.
    pub(crate) fn tombstone_keys(&self, group: KeyGroup) -> impl Iterator<Item = ObjectKey> {
        self.tombstones.iter().map(move |at| self.key(group, ObjectKind::Tombstone(*at)))
    }
}

/// The generations of one artifact, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Generations(Vec<StoredGeneration>);

impl Generations {
    /// Adds an object.
    fn add(&mut self, key: ObjectKey, bytes: u64) {
        let index = match self.0.binary_search_by_key(&key.generation, |stored| stored.id) {
            Ok(index) => index,
            Err(index) => {
                self.0.insert(index, StoredGeneration::new(key.generation));
                index
            }
        };
        let Some(stored) = self.0.get_mut(index) else { return };
        match key.kind {
            ObjectKind::Content => stored.bytes = Some(bytes),
            ObjectKind::Personal => stored.is_personal = true,
            ObjectKind::References => stored.has_references = true,
            ObjectKind::Tombstone(at) => stored.tombstones.push(at),
        }
    }

    /// All generations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredGeneration> {
        self.0.iter()
    }

    /// True if there is none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The generation that is read: the first live one, or the last one that still has its content.
    pub(crate) fn readable(&self) -> Option<&StoredGeneration> {
        let with_content = || self.0.iter().filter(|stored| stored.bytes.is_some());
        with_content().find(|stored| stored.is_live()).or_else(|| with_content().next_back())
    }

    /// True if a generation with content holds personal data.
    pub(crate) fn has_personal_data(&self) -> bool {
        self.0.iter().any(|stored| stored.bytes.is_some() && stored.is_personal)
    }
}

/// All objects of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) artifacts: HashMap<ContentHash, Generations>,
    /// Content that was never finished, or whose removal failed.
    pub(crate) staged: Generations,
}

impl Inventory {
    /// Reads a list. Objects with other keys are ignored.
    pub(crate) async fn read(
        keys: &TenantKeys,
        mut objects: BoxStream<'static, Result<Object, StoreError>>,
    ) -> Result<Self, StoreError> {
        let mut inventory = Self::default();
        while let Some(object) = objects.next().await {
            let Object { key, bytes } = object?;
            let Some(key) = keys.parse(&key) else { continue };
            match key.group {
                KeyGroup::Artifact(hash) => inventory.artifacts.entry(hash).or_default().add(key, bytes),
                KeyGroup::Staging => inventory.staged.add(key, bytes),
            }
        }
        Ok(inventory)
    }
}
