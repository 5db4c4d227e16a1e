//! Evaluates a policy snapshot for one guard worker, and replaces its WASM instance after any error.
//!
//! An instance that failed is never used again: a trap does not reset its stack pointer, and after a
//! few hundred traps every evaluation would fail.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::instance::{EvaluationError, Instance};
use crate::snapshot::PolicySnapshot;

pub mod allowed;
pub mod explain;

/// The engine of one guard worker.
pub struct Engine {
    snapshot: Arc<PolicySnapshot>,
    instance: Option<Instance>,
}

impl Engine {
    /// Makes an engine over a validated snapshot.
    ///
    /// # Errors
    /// [`EvaluationError::Failed`] if no instance can be made.
    pub async fn new(snapshot: Arc<PolicySnapshot>) -> Result<Self, EvaluationError> {
        let instance = Instance::new(snapshot.module(), snapshot.data()).await?;
        Ok(Self { snapshot, instance: Some(instance) })
    }

    /// The snapshot that the engine evaluates.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<PolicySnapshot> {
        &self.snapshot
    }

    /// Evaluates an entrypoint, and drops the instance if that fails.
    async fn evaluate<I: Serialize + Sync, O: DeserializeOwned>(
        &mut self,
        entrypoint: &str,
        input: &I,
        fuel: u64,
    ) -> Result<O, EvaluationError> {
        // The instance is put back only after a success: if the caller drops this future, or the
        // evaluation fails, the engine has none, and the next evaluation makes a new one.
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => Instance::new(self.snapshot.module(), self.snapshot.data()).await?,
        };
        let result = instance.evaluate(entrypoint, input, fuel).await?;
        self.instance = Some(instance);
        Ok(result)
    }
}
