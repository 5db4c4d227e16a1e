//! The memories of agents as points of a collection.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::qdrant_client::qdrant::{
    CountPoints, DeletePoints, Direction, Filter, OrderBy, PointId, PointsSelector, Query, QueryPoints, RetrievedPoint,
    ScrollPoints, ScrollResponse, UpsertPoints, WithPayloadSelector,
};
use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, TenantId, Timestamp};

use super::connection::Connection;
use super::error::QdrantError;
use super::filters;
use super::points::{artifacts_of, check_owner, field, from_payload, numbers_of, point_id, read_id, to_point};
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::vector::UnitVector;
use crate::agent_memory::{
    DELETED_MAX, ForgetSelection, LIST_MAX, Memory, MemoryBatch, MemoryCount, MemoryMatch, MemoryOwner, MemoryStore,
    StoredVectors, VectorQuery, best_first, newest_first,
};
use crate::error::StoreError;

/// The memories of agents.
pub(super) struct QdrantMemory {
    connection: Arc<Connection>,
    /// The writes of this pod.
    writes: AtomicU64,
}

impl QdrantMemory {
    pub(super) const fn new(connection: Arc<Connection>) -> Self {
        Self { connection, writes: AtomicU64::new(0) }
    }

    fn collection_name(&self) -> String {
        self.connection.collection.name.clone()
    }

    fn embedder(&self) -> &EmbedderId {
        &self.connection.collection.embedder
    }

    /// Refuses vectors that something else has computed than what the collection is for.
    fn check_embedder(&self, embedder: &EmbedderId) -> Result<(), QdrantError> {
        if embedder == self.embedder() {
            return Ok(());
        }
        let (name, own) = (&self.connection.collection.name, self.embedder());
        Err(QdrantError::Incompatible(format!(
            "{name} has vectors of {own}, and those of {embedder} are not stored in it"
        )))
    }

    async fn count_points(&self, filter: Filter) -> Result<u64, QdrantError> {
        let request = CountPoints {
            collection_name: self.collection_name(),
            filter: Some(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let counted = self.connection.call(|mut points| {
            let request = request.clone();
            async move { points.count(request).await }
        });
        Ok(counted.await?.result.unwrap_or_default().count)
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        let scrolled = self.connection.call(|mut points| {
            let request = request.clone();
            async move { points.scroll(request).await }
        });
        scrolled.await
    }

    async fn delete(&self, collection_name: &str, filter: Filter) -> Result<(), QdrantError> {
        let request = DeletePoints {
            collection_name: collection_name.to_owned(),
            wait: Some(true),
            points: Some(PointsSelector::from(filter)),
            ..DeletePoints::default()
        };
        let deleted = self.connection.call(|mut points| {
            let request = request.clone();
            async move { points.delete(request).await }
        });
        deleted.await.map(drop)
    }

    /// Deletes the points of one collection that match a filter, in pieces, and returns their number.
    async fn delete_all_of(&self, collection_name: &str, filter: &Filter) -> Result<u64, QdrantError> {
        let mut deleted = 0;
        loop {
            let found = self
                .scroll(ScrollPoints {
                    collection_name: collection_name.to_owned(),
                    filter: Some(filter.clone()),
                    limit: Some(DELETED_MAX),
                    with_payload: Some(false.into()),
                    ..ScrollPoints::default()
                })
                .await?;
            let ids = ids_of(found.result);
            let count = ids.len();
            if count > 0 {
                self.delete(collection_name, filters::among(ids, filter.clone())).await?;
            }
            deleted += count as u64;
            if count < DELETED_MAX as usize {
                return Ok(deleted);
            }
        }
    }

    /// As [`QdrantMemory::delete_all_of`], in the collections of all embedders.
    async fn delete_everywhere(&self, filter: &Filter) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for name in self.connection.collection_names().await? {
            match self.delete_all_of(&name, filter).await {
                Ok(count) => deleted += count,
                Err(error) if self.was_deleted(&name, &error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(deleted)
    }

    /// True if the collection of another embedder was deleted while it was read.
    fn was_deleted(&self, name: &str, error: &QdrantError) -> bool {
        matches!(error, QdrantError::Missing(_)) && *name != *self.connection.collection.name
    }

    /// Collects the artifacts that the memories of one collection reference.
    async fn add_artifacts(&self, name: &str, hashes: &mut HashSet<ContentHash>) -> Result<(), QdrantError> {
        let mut offset = None;
        loop {
            let page = self
                .scroll(ScrollPoints {
                    collection_name: name.to_owned(),
                    filter: Some(filters::with_artifacts()),
                    offset,
                    limit: Some(DELETED_MAX),
                    with_payload: Some(vec![field::ARTIFACTS].into()),
                    ..ScrollPoints::default()
                })
                .await?;
            page.result.iter().for_each(|point| hashes.extend(artifacts_of(&point.payload)));
            match page.next_page_offset {
                Some(next) => offset = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The id of a point and its vector, if the embedder of the collection has computed it.
    fn stored_vector(
        &self,
        owner: &MemoryOwner,
        point: &RetrievedPoint,
    ) -> Result<(ContentHash, Option<UnitVector>), QdrantError> {
        check_owner(owner, &point.payload)?;
        let vector = numbers_of(point).and_then(UnitVector::from_stored);
        Ok((read_id(&point.payload)?, vector))
    }

    /// Deletes the oldest of what executions have remembered, until the owner has its maximum.
    async fn evict(&self, owner: &MemoryOwner, owner_max: usize) -> Result<(), QdrantError> {
        let count = self.count_points(filters::all_of_owner(owner)).await?;
        let excess = count.saturating_sub(owner_max as u64).min(u64::from(DELETED_MAX));
        if excess == 0 {
            return Ok(());
        }
        let filter = filters::of_executions(owner);
        let oldest = self.scroll(self.by_age(filter.clone(), Direction::Asc, excess, false)).await?;
        let ids = ids_of(oldest.result);
        if ids.is_empty() {
            return Ok(());
        }
        self.delete(&self.connection.collection.name, filters::among(ids, filter)).await
    }

    /// A list of points by the time at which they were remembered.
    fn by_age(&self, filter: Filter, direction: Direction, limit: u64, has_payload: bool) -> ScrollPoints {
        ScrollPoints {
            collection_name: self.collection_name(),
            filter: Some(filter),
            limit: Some(u32::try_from(limit).unwrap_or(u32::MAX)),
            with_payload: Some(has_payload.into()),
            order_by: Some(OrderBy {
                key: field::AT.to_owned(),
                direction: Some(direction.into()),
                ..OrderBy::default()
            }),
            ..ScrollPoints::default()
        }
    }

    /// Counts and logs a reply that cannot be read.
    fn checked<T>(&self, decoded: Result<T, QdrantError>) -> Result<T, StoreError> {
        decoded.map_err(|error| {
            self.connection.on_failure(&error);
            error.into()
        })
    }
}

fn ids_of(points: Vec<RetrievedPoint>) -> Vec<PointId> {
    points.into_iter().filter_map(|point| point.id).collect()
}

#[async_trait]
impl MemoryStore for QdrantMemory {
    async fn remember(&self, owner: &MemoryOwner, batch: &MemoryBatch, _now: Timestamp) -> Result<(), StoreError> {
        self.check_embedder(&batch.embedder)?;
        if batch.memories.is_empty() {
            return Ok(());
        }
        let points = batch.memories.iter().map(|new| to_point(owner, &batch.embedder, new)).collect();
        let request = UpsertPoints {
            collection_name: self.collection_name(),
            wait: Some(true),
            points,
            ..UpsertPoints::default()
        };
        let upserted = self.connection.call(|mut points| {
            let request = request.clone();
            async move { points.upsert(request).await }
        });
        upserted.await?;
        if self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(batch.eviction_interval()) {
            self.evict(owner, batch.owner_max).await?;
        }
        Ok(())
    }

    async fn find_vectors(
        &self,
        owner: &MemoryOwner,
        embedder: &EmbedderId,
        ids: &[ContentHash],
    ) -> Result<StoredVectors, StoreError> {
        self.check_embedder(embedder)?;
        if ids.is_empty() {
            return Ok(StoredVectors::new());
        }
        let points = ids.iter().map(|id| point_id(owner, id)).collect();
        let request = ScrollPoints {
            collection_name: self.collection_name(),
            filter: Some(filters::among(points, filters::all_of_owner(owner))),
            limit: Some(u32::try_from(ids.len()).unwrap_or(u32::MAX)),
            with_payload: Some(vec![field::TENANT, field::AGENT, field::MEMORY].into()),
            with_vectors: Some(true.into()),
            ..ScrollPoints::default()
        };
        let found = self.scroll(request).await?.result;
        self.checked(found.iter().map(|point| self.stored_vector(owner, point)).collect())
    }

    async fn recall(
        &self,
        owner: &MemoryOwner,
        query: VectorQuery<'_>,
        now: Timestamp,
    ) -> Result<Vec<MemoryMatch>, StoreError> {
        self.check_embedder(query.embedder)?;
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let request = QueryPoints {
            collection_name: self.collection_name(),
            query: Some(Query::from(query.vector.as_slice().to_vec())),
            filter: Some(filters::live(owner, query.embedder, now)),
            score_threshold: Some(query.min_similarity),
            limit: Some(query.limit as u64),
            with_payload: Some(WithPayloadSelector::from(true)),
            ..QueryPoints::default()
        };
        let found = self.connection.call(|mut points| {
            let request = request.clone();
            async move { points.query(request).await }
        });
        let points = found.await?.result.into_iter();
        let matches = points
            .map(|point| Ok(MemoryMatch { memory: from_payload(owner, &point.payload)?, similarity: point.score }));
        let mut matches = self.checked(matches.collect::<Result<Vec<_>, QdrantError>>())?;
        matches.retain(|found| found.similarity >= query.min_similarity);
        matches.sort_by(best_first);
        matches.truncate(query.limit);
        Ok(matches)
    }

    async fn list(&self, owner: &MemoryOwner, limit: usize, now: Timestamp) -> Result<Vec<Memory>, StoreError> {
        let limit = limit.min(LIST_MAX);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let filter = filters::live(owner, self.embedder(), now);
        let found = self.scroll(self.by_age(filter, Direction::Desc, limit as u64, true)).await?;
        let memories = found.result.iter().map(|point| from_payload(owner, &point.payload));
        let mut memories = self.checked(memories.collect::<Result<Vec<_>, QdrantError>>())?;
        memories.sort_by(newest_first);
        memories.truncate(limit);
        Ok(memories)
    }

    async fn count(&self, owner: &MemoryOwner, now: Timestamp) -> Result<MemoryCount, StoreError> {
        let memories = self.count_points(filters::live(owner, self.embedder(), now)).await?;
        let of_documents = self.count_points(filters::live_of_documents(owner, self.embedder(), now)).await?;
        Ok(MemoryCount { memories, of_documents })
    }

    async fn forget(&self, owner: &MemoryOwner, selection: &ForgetSelection) -> Result<u64, StoreError> {
        self.delete_everywhere(&filters::selected(owner, selection)).await
    }

    async fn forget_of_tenant(&self, tenant: &TenantId, user: Option<&PrincipalId>) -> Result<u64, StoreError> {
        self.delete_everywhere(&filters::of_tenant(tenant, user)).await
    }

    async fn prune(&self, tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        self.delete_everywhere(&filters::old(tenant, before, now)).await
    }

    async fn referenced_artifacts(&self) -> Result<HashSet<ContentHash>, StoreError> {
        let mut hashes = HashSet::new();
        for name in self.connection.collection_names().await? {
            match self.add_artifacts(&name, &mut hashes).await {
                Err(error) if !self.was_deleted(&name, &error) => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(hashes)
    }
}
