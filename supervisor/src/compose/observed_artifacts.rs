//! The store of artifacts with a log line and a metric for each of its failures: an S3 server may be slow, full or gone
//! for hours, while nothing else of the pod is.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use greenroom_protocol::{ArtifactRef, ContentHash, TenantId, Timestamp};
use greenroom_registry::artifacts::{
    ArtifactContent, ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore, SweepReport,
};
use greenroom_registry::{StoreError, Stores};

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{DAMAGED_ARTIFACT, OTHER_FAULT};

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

    fn observe<T>(&self, result: Result<T, ArtifactError>) -> Result<T, ArtifactError> {
        result.inspect_err(|error| self.report(error))
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
        self.failures.observe(self.inner.put_stream(owner, content, media_type, name).await)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError> {
        let content = self.failures.observe(self.inner.read(tenant, hash, range).await)?;
        Ok(content.map(|content| {
            let failures = self.failures.clone();
            let chunks = content.chunks.inspect_err(move |error| failures.report(error)).boxed();
            ArtifactContent { chunks, ..content }
        }))
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        self.failures.observe(self.inner.info(tenant, hash).await)
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        self.failures.observe(self.inner.mark_personal_data(tenant, hash).await)
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
