//! A sweep of one tenant after the other: what nothing references gets a tombstone, and what has an old one is removed.
//!
//! A tombstone protects nothing by itself: the time since it does. A request that found the artifact before has ended by
//! then, and what it stored is among the references of the sweep that removes. Sweeps of several pods do the same work
//! twice and no harm: each decides by its own list, and removes only generations with an old tombstone, which no put
//! shares.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use greenroom_protocol::{ContentHash, Timestamp};

use crate::artifacts::hash_scan::HashScanner;
use crate::artifacts::inventory::{Generations, Inventory, StoredGeneration};
use crate::artifacts::key::{KeyGroup, ObjectKey, ObjectKind, TenantKeys};
use crate::artifacts::objects::Objects;
use crate::artifacts::verify::verify_chunks;
use crate::artifacts::{ArtifactError, SweepReport, UNREFERENCED_RETENTION};
use crate::error::StoreError;

/// Tombstones that are written at the same time.
const CONCURRENT_MARKS: usize = 16;
/// Objects that are removed by one call.
const REMOVED_OBJECTS_MAX: usize = 500;

/// A sweep with these references.
pub(super) struct Sweep<'s, O> {
    objects: &'s O,
    referenced: &'s HashSet<ContentHash>,
    now: Timestamp,
    /// A tombstone before this moment is old.
    cutoff: Timestamp,
    report: SweepReport,
}

/// What a sweep writes and removes of one tenant.
#[derive(Debug, Default)]
struct Changes {
    /// New tombstones, and marks of personal data.
    marks: Vec<ObjectKey>,
    /// Tombstones of what is referenced now.
    revocations: Vec<ObjectKey>,
    /// The other objects of what is removed.
    removals: Vec<ObjectKey>,
    /// The tombstones of what is removed. They are removed last, so that an interrupted removal is continued.
    tombstone_removals: Vec<ObjectKey>,
}

impl Changes {
    /// Marks a generation that remains if another one, which may be removed, holds personal data: two pods may have put
    /// the same content, and only one of them as personal data.
    fn mark_personal(&mut self, group: KeyGroup, generation: &StoredGeneration, all: &Generations) {
        if generation.bytes.is_some() && !generation.is_personal && all.has_personal_data() {
            self.marks.push(generation.key(group, ObjectKind::Personal));
        }
    }
}

impl<'s, O: Objects> Sweep<'s, O> {
    /// A sweep that has not begun.
    pub(super) fn new(objects: &'s O, referenced: &'s HashSet<ContentHash>, now: Timestamp) -> Self {
        let cutoff = now.saturating_sub(UNREFERENCED_RETENTION);
        Self { objects, referenced, now, cutoff, report: SweepReport::default() }
    }

    /// The sum over all tenants.
    pub(super) const fn into_report(self) -> SweepReport {
        self.report
    }

    /// Sweeps one tenant.
    pub(super) async fn sweep_tenant(&mut self, keys: &TenantKeys) -> Result<(), StoreError> {
        let inventory = Inventory::read(keys, self.objects.list(keys.prefix())).await?;
        let all = || inventory.artifacts.iter();
        let roots = all().filter(|(hash, _)| self.referenced.contains(*hash)).map(|(hash, _)| *hash).collect();
        let mut reachable = HashSet::new();
        self.add_reachable(keys, &inventory, roots, &mut reachable).await?;
        // An artifact that is not removed yet may be put again, or named by a request under way, with what it references.
        let is_retained = |generations: &Generations| !generations.iter().all(|one| one.is_expired(self.cutoff));
        let retained_roots = all().filter(|(_, stored)| is_retained(stored)).map(|(hash, _)| *hash).collect();
        let mut retained = reachable.clone();
        self.add_reachable(keys, &inventory, retained_roots, &mut retained).await?;

        let mut changes = Changes::default();
        for (hash, generations) in all() {
            let group = KeyGroup::Artifact(*hash);
            if reachable.contains(hash) {
                self.plan_reachable(group, generations, &mut changes);
            } else {
                self.plan_unreachable(group, generations, retained.contains(hash), &mut changes);
            }
        }
        self.plan_staged(&inventory.staged, &mut changes);
        self.apply(keys, changes).await
    }

    /// Adds the roots and everything that their JSON references, directly or indirectly.
    async fn add_reachable(
        &self,
        keys: &TenantKeys,
        inventory: &Inventory,
        roots: Vec<ContentHash>,
        reachable: &mut HashSet<ContentHash>,
    ) -> Result<(), StoreError> {
        let mut pending = roots;
        while let Some(hash) = pending.pop() {
            if reachable.insert(hash) {
                pending.extend(self.references(keys, inventory, hash).await?);
            }
        }
        Ok(())
    }

    /// The artifacts of the tenant that an artifact references.
    async fn references(
        &self,
        keys: &TenantKeys,
        inventory: &Inventory,
        hash: ContentHash,
    ) -> Result<HashSet<ContentHash>, StoreError> {
        let mut found = HashSet::new();
        let stored = inventory.artifacts.get(&hash).and_then(Generations::readable);
        let Some((stored, bytes)) = stored.and_then(|stored| Some((stored, stored.bytes?))) else { return Ok(found) };
        if !stored.has_references {
            return Ok(found);
        }
        let key = keys.key(stored.key(KeyGroup::Artifact(hash), ObjectKind::Content));
        let mut chunks = verify_chunks(self.objects.read(&key, 0..bytes), hash, bytes, true);
        let mut scanner = HashScanner::default();
        let is_stored = |hash: &ContentHash| inventory.artifacts.contains_key(hash);
        while let Some(chunk) = chunks.next().await {
            scanner.scan_chunk(&chunk.map_err(|error| unreadable(&error))?);
            found.extend(scanner.take_hashes().into_iter().filter(is_stored));
        }
        found.extend(scanner.into_hashes().into_iter().filter(is_stored));
        Ok(found)
    }

    /// A reachable artifact needs one live generation. Those that two pods have put at the same time end as one.
    fn plan_reachable(&self, group: KeyGroup, generations: &Generations, changes: &mut Changes) {
        let readable = generations.readable();
        for generation in generations.iter() {
            if readable.is_some_and(|readable| readable.id == generation.id) {
                changes.revocations.extend(generation.tombstone_keys(group));
                changes.mark_personal(group, generation, generations);
            } else {
                self.plan_generation(group, generation, true, changes);
            }
        }
    }

    /// An expired generation is removed if a younger one remains, or if nothing that remains references the artifact.
    fn plan_unreachable(
        &mut self,
        group: KeyGroup,
        generations: &Generations,
        is_retained: bool,
        changes: &mut Changes,
    ) {
        let has_content = |generation: &StoredGeneration| generation.bytes.is_some();
        let has_younger = generations.iter().any(|one| has_content(one) && !one.is_expired(self.cutoff));
        let is_new = generations.iter().any(StoredGeneration::is_live);
        let mut remains = false;
        for generation in generations.iter() {
            let is_removed = self.plan_generation(group, generation, has_younger || !is_retained, changes);
            if !is_removed {
                changes.mark_personal(group, generation, generations);
            }
            remains |= has_content(generation) && !is_removed;
            self.report.bytes += if is_removed { generation.bytes.unwrap_or_default() } else { 0 };
        }
        self.report.artifacts += u64::from(generations.iter().any(has_content) && !remains);
        self.report.tombstones += u64::from(is_new);
    }

    /// Content whose put has not ended is marked too: the put ends, or is given up, long before the tombstone is old.
    fn plan_staged(&self, staged: &Generations, changes: &mut Changes) {
        for generation in staged.iter() {
            self.plan_generation(KeyGroup::Staging, generation, true, changes);
        }
    }

    /// Marks a generation, or removes it if its tombstone is old. True if it is removed.
    fn plan_generation(
        &self,
        group: KeyGroup,
        generation: &StoredGeneration,
        may_remove: bool,
        changes: &mut Changes,
    ) -> bool {
        if generation.tombstones.is_empty() {
            changes.marks.push(generation.key(group, ObjectKind::Tombstone(self.now)));
        }
        let is_removed = may_remove && generation.is_expired(self.cutoff);
        if is_removed {
            changes.removals.extend(generation.content_keys(group));
            changes.tombstone_removals.extend(generation.tombstone_keys(group));
        }
        is_removed
    }

    async fn apply(&self, keys: &TenantKeys, changes: Changes) -> Result<(), StoreError> {
        let Changes { marks, revocations, removals, tombstone_removals } = changes;
        let objects = self.objects;
        let marking = marks.into_iter().map(move |mark| {
            let key = keys.key(mark);
            async move { objects.mark(&key).await }
        });
        stream::iter(marking).buffer_unordered(CONCURRENT_MARKS).try_collect::<()>().await?;
        for removals in [revocations, removals, tombstone_removals] {
            for chunk in removals.chunks(REMOVED_OBJECTS_MAX) {
                objects.delete(chunk.iter().map(|key| keys.key(*key)).collect()).await?;
            }
        }
        Ok(())
    }
}

/// An artifact that cannot be read may reference any other one, so nothing is removed.
fn unreadable(error: &ArtifactError) -> StoreError {
    match error {
        ArtifactError::Store(error) => error.clone(),
        ArtifactError::Damaged { .. }
        | ArtifactError::TooLarge { .. }
        | ArtifactError::Label
        | ArtifactError::Source(_) => StoreError::Failed(error.to_string()),
    }
}
