//! The stages that resolve the principal of a request again, and establish the facts about it. While the server of a store that pods share is away, a request
//! of a run waits for it, up to its deadline: nothing was executed yet, so the step does not fail.

use std::time::Duration;

use greenroom_protocol::{Cause, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::core::PendingAuditEntry;
use greenroom_rego::{Authenticated, Facts};

use super::Pipeline;
use super::facts::FactError;
use super::preconditions::is_of_run;

/// How often the principal and the facts are read again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

impl Pipeline {
    /// Resolves the principal of a request again: that of a key or of a token is in the store.
    ///
    /// # Errors
    /// Those of [`greenroom_rego::Authenticator::refresh`].
    pub(super) async fn refresh(&self, request: &mut Authenticated, now: Timestamp) -> Result<(), Cause> {
        let waits = is_of_run(request) && self.store.is_server();
        loop {
            match self.authenticator.refresh(request, now).await {
                Err(cause) if waits && StoreError::is_outage_cause(&cause) => {
                    tracing::debug!(request.id = %request.id(), cause = %cause, "the principal is read again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                refreshed => return refreshed,
            }
        }
    }

    /// Establishes the facts about a request, the sizes of its artifacts among them.
    ///
    /// # Errors
    /// [`FactError`]
    pub(super) async fn collect_facts(
        &self,
        mut request: Authenticated,
        audit_entry: &PendingAuditEntry,
        now: Timestamp,
    ) -> Result<(Authenticated, Facts), FactError> {
        let waits = is_of_run(&request) && self.store.is_server();
        loop {
            match self.try_collect_facts(&mut request, audit_entry, now).await {
                Ok(facts) => return Ok((request, facts)),
                Err(FactError::Unavailable(cause)) if waits && StoreError::is_outage_cause(&cause) => {
                    tracing::debug!(request.id = %request.id(), cause = %cause, "the facts are read again");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_collect_facts(
        &self,
        request: &mut Authenticated,
        audit_entry: &PendingAuditEntry,
        now: Timestamp,
    ) -> Result<Facts, FactError> {
        let has_personal_data = self.artifacts.resolve(request).await?;
        self.raw_inputs.resolve(request).await?;
        self.fact_collector.collect(request, audit_entry, has_personal_data, now).await
    }
}
