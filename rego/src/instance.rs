//! One WASM instance of a policy: its limits, its entrypoints and the shape of their results.
//!
//! It knows neither requests nor snapshots. Fuel bounds the time of an evaluation and a limiter bounds
//! its memory; exceeding either is an [`EvaluationError`], and an evaluation error denies.

use greenroom_protocol::{Cause, ErrorCode, Json};
use opa_wasm::{DefaultContext, Policy, Runtime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::{Module, Store, StoreLimits, StoreLimitsBuilder};

pub mod allowed;
pub mod explain;
pub(crate) mod result_set;

/// Maximum instructions of one hot decision: about a millisecond, fifty times what it takes.
pub const FUEL_MAX: u64 = 10_000_000;
/// Maximum instructions of one explanation.
pub const EXPLAIN_FUEL_MAX: u64 = 100_000_000;
/// Maximum bytes of memory of one instance.
pub const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why there is no policy decision. Every evaluation error denies the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The evaluation trapped, ran out of fuel or memory, or returned a result that cannot be decoded.
    #[error("the evaluation failed: {0}")]
    Failed(String),
    /// The decision was made for another input.
    #[error("the decision was made for another input")]
    DecisionMismatch,
    /// The facts describe another kind of resource than the request names.
    #[error("the facts do not match the resource of the request")]
    ResourceMismatch,
    /// No engine is available: the guard is starting, stopping or being replaced.
    #[error("the guard is unavailable: {0}")]
    Unavailable(String),
}

impl From<EvaluationError> for Cause {
    fn from(error: EvaluationError) -> Self {
        Self::new(
            ErrorCode::PolicyError,
            format!("the policy could not be evaluated, so the request is denied: {error}"),
        )
    }
}

/// The limits that the store enforces on one instance.
struct InstanceLimits {
    limits: StoreLimits,
}

/// A store and the policy instance in it.
pub(crate) struct Instance {
    store: Store<InstanceLimits>,
    policy: Policy<DefaultContext>,
}

impl Instance {
    /// Instantiates a module and loads the bundle's data into it.
    pub(crate) async fn new(module: &Module, data: &Json) -> Result<Self, EvaluationError> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES_MAX).instances(1).tables(4).memories(1).build();
        let mut store = Store::new(module.engine(), InstanceLimits { limits });
        store.limiter(|limits| &mut limits.limits);
        store.set_fuel(EXPLAIN_FUEL_MAX).map_err(|error| failed(&error))?;
        let runtime = Runtime::new(&mut store, module).await.map_err(|error| failed(&error))?;
        let policy = runtime.with_data(&mut store, data).await.map_err(|error| failed(&error))?;
        Ok(Self { store, policy })
    }

    /// The paths of the entrypoints.
    pub(crate) fn entrypoints(&self) -> impl Iterator<Item = &str> {
        self.policy.entrypoints().into_iter()
    }

    /// The fuel that the last evaluation has not spent.
    pub(crate) fn remaining_fuel(&self) -> u64 {
        self.store.get_fuel().unwrap_or_default()
    }

    /// Evaluates an entrypoint within the fuel.
    pub(crate) async fn evaluate<I: Serialize + ?Sized, O: DeserializeOwned>(
        &mut self,
        entrypoint: &str,
        input: &I,
        fuel: u64,
    ) -> Result<O, EvaluationError> {
        self.store.set_fuel(fuel).map_err(|error| failed(&error))?;
        self.policy.evaluate(&mut self.store, entrypoint, &input).await.map_err(|error| failed(&error))
    }
}

/// The chain of errors as one text; none of them contains any part of the input.
fn failed(error: &impl std::fmt::Display) -> EvaluationError {
    EvaluationError::Failed(format!("{error:#}"))
}
