//! The store of artifacts with a log line and a metric for each of its failures: an S3 server may be slow, full or gone
//! for hours, while nothing else of the pod is.

mod store_wait;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use greenroom_protocol::{ArtifactRef, ContentHash, TenantId, Timestamp};
use greenroom_registry::artifacts::{
    ArtifactContent, ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore, SweepReport,
};
use greenroom_registry::{StoreError, Stores};

use self::store_wait::StoreWait;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{ABANDONED_ARTIFACT, DAMAGED_ARTIFACT, OTHER_FAULT};

/// Shortest wait for the store that is reported when its caller stops waiting.
const ABANDONED_MIN: Duration = Duration::from_secs(1);

/// The chunks of an artifact that is read.
type ArtifactChunks = BoxStream<'static, Result<Bytes, ArtifactError>>;

/// Observes the artifacts of these stores.
pub(super) fn observe(stores: Stores, metrics: &Arc<Metrics>) -> Stores {
    let failures = FailureReporter(Arc::clone(metrics));
    let artifacts = ObservedArtifacts { inner: Arc::clone(&stores.artifacts), failures };
    Stores { artifacts: Arc::new(artifacts), ..stores }
}

struct ObservedArtifacts {
    inner: Arc<dyn ArtifactStore>,
    failures: FailureReporter,
}

#[derive(Clone)]
struct FailureReporter(Arc<Metrics>);

impl FailureReporter {
    /// Reports a failure of the store. A mistake of its caller, and a source that ends early, are none.
    fn report(&self, error: &ArtifactError) {
        match error {
            ArtifactError::Store(error) => self.report_store(error),
            ArtifactError::Damaged { hash } => {
                self.0.count_artifact_failure(DAMAGED_ARTIFACT);
                tracing::error!(artifact.hash = %hash, "artifact is damaged");
            }
            ArtifactError::TooLarge { .. } | ArtifactError::Label | ArtifactError::Source(_) => {}
        }
    }

    fn report_store(&self, error: &StoreError) {
        let fault = if let StoreError::S3 { fault, .. } = error { fault.as_str() } else { OTHER_FAULT };
        self.0.count_artifact_failure(fault);
        tracing::error!(store.fault = fault, error.message = %error, "artifact store failed");
    }

    /// Reports a store that had not replied when its caller stopped waiting, because a deadline passed or a client
    /// disconnected: nothing else would say that the store is slow.
    fn report_abandoned(&self, elapsed_ms: u64) {
        self.0.count_artifact_failure(ABANDONED_ARTIFACT);
        tracing::warn!(store.fault = ABANDONED_ARTIFACT, elapsed_ms, "artifact store did not reply in time");
    }

    /// Waits for the store, and reports its failure.
    async fn observe<T>(
        &self,
        work: impl Future<Output = Result<T, ArtifactError>> + Send,
    ) -> Result<T, ArtifactError> {
        self.observe_wait(StoreWait::begin(), work).await
    }

    async fn observe_wait<T>(
        &self,
        wait: StoreWait,
        work: impl Future<Output = Result<T, ArtifactError>> + Send,
    ) -> Result<T, ArtifactError> {
        let operation = Operation { failures: self, wait };
        let result = work.await;
        operation.wait.end();
        result.inspect_err(|error| self.report(error))
    }
}

/// An operation that the store has not ended.
struct Operation<'r> {
    failures: &'r FailureReporter,
    wait: StoreWait,
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if let Some(elapsed) = self.wait.elapsed().filter(|elapsed| *elapsed >= ABANDONED_MIN) {
            self.failures.report_abandoned(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        }
    }
}

#[async_trait]
impl ArtifactStore for ObservedArtifacts {
    async fn put_stream(
        &self,
        owner: &ArtifactOwner,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        let wait = StoreWait::begin();
        let storing = self.inner.put_stream(owner, wait.without_source(content), media_type, name);
        self.failures.observe_wait(wait, storing).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError> {
        let content = self.failures.observe(self.inner.read(tenant, hash, range)).await?;
        Ok(content.map(|content| {
            let observed = (content.chunks, self.failures.clone());
            let next = |(mut chunks, failures): (ArtifactChunks, FailureReporter)| async move {
                let chunk = failures.observe(async { chunks.next().await.transpose() }).await;
                chunk.map(|chunk| chunk.map(|chunk| (chunk, (chunks, failures))))
            };
            ArtifactContent { chunks: stream::try_unfold(observed, next).boxed(), ..content }
        }))
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        self.failures.observe(self.inner.info(tenant, hash)).await
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        self.failures.observe(self.inner.mark_personal_data(tenant, hash)).await
    }

    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        let swept = self.inner.sweep(referenced, tenant, now).await;
        swept.inspect_err(|error| self.failures.report_store(error))
    }
}
