//! One instance of the policy, owned by one shard, and replaced after any fault.
//!
//! An instance that erred is never used again: a trap leaves its stack pointer where it was, and a
//! few hundred traps later every evaluation would fail. Time is bounded by fuel, memory by a limiter;
//! both end in a [`Fault`], and a fault denies.

use std::sync::Arc;

use greenroom_protocol::{Cause, ErrorCode};
use opa_wasm::{DefaultContext, Policy, Runtime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder};

use crate::snapshot::PolicySnapshot;

pub mod allowed;
pub mod explain;

/// Instructions of one hot decision, at most: about a millisecond, fifty times what it takes.
pub const FUEL_MAX: u64 = 10_000_000;
/// Instructions of one explanation, at most.
pub const EXPLAIN_FUEL_MAX: u64 = 100_000_000;
/// Bytes of one instance's memory, at most.
pub const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why there is no verdict. Every fault denies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The evaluation trapped, ran out of fuel or memory, or answered what cannot be read.
    #[error("the evaluation failed: {0}")]
    Failed(String),
    /// The verdict belongs to another question.
    #[error("the verdict belongs to another question")]
    DecisionMismatch,
    /// The facts are about another kind of thing than the request.
    #[error("the facts do not fit the request")]
    ResourceMismatch,
    /// No engine could be reached: the guard is starting, stopping or being replaced.
    #[error("the guard cannot be reached: {0}")]
    Unavailable(String),
}

impl From<EvaluationError> for Cause {
    fn from(fault: EvaluationError) -> Self {
        Self::new(ErrorCode::PolicyError, format!("the policy could not be evaluated, so the answer is no: {fault}"))
    }
}

/// What an instance is bound by.
pub(crate) struct InstanceLimits {
    limits: StoreLimits,
}

/// A store and the instance in it.
pub(crate) struct Instance {
    store: Store<InstanceLimits>,
    policy: Policy<DefaultContext>,
}

impl Instance {
    /// Makes an instance with the snapshot's data in it.
    pub(crate) async fn new(snapshot: &PolicySnapshot) -> Result<Self, EvaluationError> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).instances(1).tables(4).memories(1).build();
        let mut store = Store::new(snapshot.module().engine(), InstanceLimits { limits });
        store.limiter(|bounds| &mut bounds.limits);
        store.set_fuel(EXPLAIN_FUEL_MAX).map_err(|error| fault(&error))?;
        let runtime = Runtime::new(&mut store, snapshot.module()).await.map_err(|error| fault(&error))?;
        let policy = runtime.with_data(&mut store, snapshot.data()).await.map_err(|error| fault(&error))?;
        Ok(Self { store, policy })
    }

    /// The paths that can be asked.
    pub(crate) fn entrypoints(&self) -> impl Iterator<Item = &str> {
        self.policy.entrypoints().into_iter()
    }

    /// Evaluates an entrypoint within the fuel.
    pub(crate) async fn evaluate<I: Serialize, O: DeserializeOwned>(
        &mut self,
        entrypoint: &str,
        input: &I,
        fuel: u64,
    ) -> Result<O, EvaluationError> {
        self.store.set_fuel(fuel).map_err(|error| fault(&error))?;
        self.policy.evaluate(&mut self.store, entrypoint, input).await.map_err(|error| fault(&error))
    }
}

/// Evaluates for one shard.
pub struct Engine {
    snapshot: Arc<PolicySnapshot>,
    instance: Option<Instance>,
}

impl Engine {
    /// An engine over a snapshot that has passed its trial.
    ///
    /// # Errors
    /// [`Fault::Evaluation`] if no instance can be made.
    pub async fn new(snapshot: Arc<PolicySnapshot>) -> Result<Self, EvaluationError> {
        let instance = Instance::new(&snapshot).await?;
        Ok(Self { snapshot, instance: Some(instance) })
    }

    /// The snapshot that it evaluates.
    #[must_use]
    pub const fn snapshot(&self) -> &Arc<PolicySnapshot> {
        &self.snapshot
    }

    /// Evaluates, and throws the instance away if that fails.
    async fn evaluate<I: Serialize + Sync, O: DeserializeOwned>(
        &mut self,
        entrypoint: &str,
        input: &I,
        fuel: u64,
    ) -> Result<O, EvaluationError> {
        // The seat is put back only after a good answer: a caller that goes away in the middle
        // leaves an empty one behind, and the next evaluation makes a new instance.
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => Instance::new(&self.snapshot).await?,
        };
        let answer = instance.evaluate(entrypoint, input, fuel).await?;
        self.instance = Some(instance);
        Ok(answer)
    }
}

/// The chain of errors as one text; none of them holds any part of the input.
fn fault(error: &impl std::fmt::Display) -> EvaluationError {
    EvaluationError::Failed(format!("{error:#}"))
}
