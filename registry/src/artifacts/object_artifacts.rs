//! The artifact store over objects. A put that finds a live generation of its content shares it; any other put makes a
//! generation of its own, whose key no other put has. So a generation with a tombstone is never relied on, and removing
//! it needs no lock, whichever pod puts the same content at the same time.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use greenroom_protocol::{ArtifactRef, ContentHash, IdGenerator, TenantId, Timestamp};

use crate::artifacts::content_scan::{ContentScan, ScannedContent};
use crate::artifacts::inventory::{Generations, Inventory};
use crate::artifacts::key::{Generation, KeyGroup, ObjectKey, ObjectKind, TenantKeys};
use crate::artifacts::objects::{Label, Objects, Upload};
use crate::artifacts::sweep::Sweep;
use crate::artifacts::verify::verify_chunks;
use crate::artifacts::{
    ARTIFACT_BYTES_MAX, ArtifactContent, ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore,
    LABEL_BYTES_MAX, SweepReport,
};
use crate::error::StoreError;

/// How often a mark looks for generations that a concurrent put has made.
const MARK_ROUNDS_MAX: usize = 8;

/// An artifact store over these objects.
pub(crate) struct ObjectArtifacts<O> {
    objects: O,
    ids: Arc<dyn IdGenerator>,
}

impl<O: Objects> ObjectArtifacts<O> {
    /// A store over these objects; the ids distinguish the puts of all pods.
    pub(crate) const fn new(objects: O, ids: Arc<dyn IdGenerator>) -> Self {
        Self { objects, ids }
    }

    async fn generations(&self, keys: &TenantKeys, hash: &ContentHash) -> Result<Generations, StoreError> {
        let objects = self.objects.list(&keys.group(KeyGroup::Artifact(*hash)));
        let mut inventory = Inventory::read(keys, objects).await?;
        Ok(inventory.artifacts.remove(hash).unwrap_or_default())
    }

    /// Makes the written content visible, unless the tenant has it already.
    async fn publish(
        &self,
        keys: &TenantKeys,
        content: ObjectKey,
        upload: Box<dyn Upload>,
        scanned: &ScannedContent,
        is_personal: bool,
    ) -> Result<(), StoreError> {
        let stored = match self.generations(keys, &scanned.hash).await {
            Ok(stored) => stored,
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        };
        if stored.iter().any(|generation| generation.is_live()) {
            upload.abort().await;
            return if is_personal { self.mark_personal(keys, &scanned.hash).await } else { Ok(()) };
        }
        let is_personal = is_personal || stored.has_personal_data();
        let marks = [(ObjectKind::References, scanned.has_references), (ObjectKind::Personal, is_personal)];
        // The marks come first: content without them would be swept, or read, as if it had none.
        for (kind, _) in marks.into_iter().filter(|(_, is_set)| *is_set) {
            if let Err(error) = self.objects.mark(&keys.key(content.with_kind(kind))).await {
                upload.abort().await;
                return Err(error);
            }
        }
        upload.finish(&keys.key(content)).await?;
        if is_personal || stored.is_empty() {
            return Ok(());
        }
        // A generation that was there before may have been marked since, and its mark is removed with it.
        let has_mark = self.generations(keys, &scanned.hash).await?.has_personal_data();
        if has_mark { self.mark_personal(keys, &scanned.hash).await } else { Ok(()) }
    }

    /// Marks each generation of an artifact, and those that are put meanwhile.
    async fn mark_personal(&self, keys: &TenantKeys, hash: &ContentHash) -> Result<(), StoreError> {
        let group = KeyGroup::Artifact(*hash);
        for _ in 0..MARK_ROUNDS_MAX {
            let stored = self.generations(keys, hash).await?;
            let unmarked = stored.iter().filter(|stored| stored.bytes.is_some() && !stored.is_personal);
            let marks: Vec<_> = unmarked.map(|stored| keys.key(stored.key(group, ObjectKind::Personal))).collect();
            if marks.is_empty() {
                return Ok(());
            }
            for mark in marks {
                self.objects.mark(&mark).await?;
            }
        }
        Err(StoreError::Failed(format!("the artifact {hash} is put too often to be marked")))
    }
}

/// Writes the content and scans it meanwhile.
async fn write(content: &mut ArtifactSource<'_>, upload: &mut dyn Upload) -> Result<ScannedContent, ArtifactError> {
    let mut scan = ContentScan::default();
    while let Some(chunk) = content.next().await {
        let chunk = chunk.map_err(ArtifactError::Source)?;
        scan.add(&chunk);
        if scan.bytes() > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge { bytes: scan.bytes(), max: ARTIFACT_BYTES_MAX });
        }
        upload.write(chunk).await?;
    }
    Ok(scan.finish())
}

fn check_label(media_type: &str, name: &str) -> Result<Label, ArtifactError> {
    let is_label = |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.contains(char::is_control);
    if !is_label(name) || !is_label(media_type) || name.contains(['/', '\\']) {
        return Err(ArtifactError::Label);
    }
    Ok(Label { media_type: media_type.to_owned(), name: name.to_owned() })
}

#[async_trait]
impl<O: Objects> ArtifactStore for ObjectArtifacts<O> {
    async fn put_stream(
        &self,
        owner: &ArtifactOwner,
        mut content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        let label = check_label(media_type, name)?;
        let (keys, generation) = (TenantKeys::new(&owner.tenant), Generation(self.ids.next_id()));
        let staged = ObjectKey { group: KeyGroup::Staging, generation, kind: ObjectKind::Content };
        let mut upload = self.objects.begin(&keys.key(staged), label);
        let scanned = match write(&mut content, &mut *upload).await {
            Ok(scanned) => scanned,
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        };
        let key = ObjectKey { group: KeyGroup::Artifact(scanned.hash), ..staged };
        self.publish(&keys, key, upload, &scanned, owner.personal_data).await?;
        let ScannedContent { hash, bytes, .. } = scanned;
        Ok(ArtifactRef { hash, bytes, media_type: media_type.to_owned(), name: name.to_owned() })
    }

    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError> {
        let keys = TenantKeys::new(tenant);
        let stored = self.generations(&keys, hash).await?;
        let Some((generation, bytes)) = stored.readable().and_then(|stored| Some((stored, stored.bytes?))) else {
            return Ok(None);
        };
        let start = range.start.min(bytes);
        let range = start..range.end.clamp(start, bytes);
        let key = keys.key(generation.key(KeyGroup::Artifact(*hash), ObjectKind::Content));
        let (length, is_whole) = (range.end.saturating_sub(range.start), range == (0..bytes));
        let chunks = verify_chunks(self.objects.read(&key, range.clone()), *hash, length, is_whole);
        Ok(Some(ArtifactContent { bytes, range, chunks }))
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        let stored = self.generations(&TenantKeys::new(tenant), hash).await?;
        let bytes = stored.readable().and_then(|generation| generation.bytes);
        Ok(bytes.map(|bytes| ArtifactInfo { bytes, personal_data: stored.has_personal_data() }))
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        Ok(self.mark_personal(&TenantKeys::new(tenant), hash).await?)
    }

    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        let tenants = match tenant {
            Some(tenant) => vec![TenantKeys::new(tenant)],
            None => self.objects.list_prefixes().await?.into_iter().map(TenantKeys::from_prefix).collect(),
        };
        let mut sweep = Sweep::new(&self.objects, &referenced, now);
        for keys in tenants {
            sweep.sweep_tenant(&keys).await?;
        }
        Ok(sweep.into_report())
    }
}
