//! What is allowed: identity, the question, the policy that answers it, and the permit.
//!
//! This crate is the only maker of [`Authenticated`] and [`Permitted`], and so of every right to
//! reach an actor. What does not live here: who asks (the `supervisor` injects [`Identities`]), what
//! exists (facts are handed in as [`Facts`]), actors (they only carry [`Evaluator`]), HTTP and NATS.
//!
//! None of the three can be made outside:
//!
//! ```compile_fail
//! let permit: greenroom_rego::Permitted<u8> = greenroom_rego::Permitted { grant: todo!(), what: 1 };
//! ```
//! ```compile_fail
//! let verdict = greenroom_rego::Verdict { seal: todo!(), grounds: None };
//! ```
//! ```compile_fail
//! fn twice(verdict: greenroom_rego::Verdict) { let other = verdict.clone(); drop((verdict, other)); }
//! ```
//! ```compile_fail
//! fn forge() -> greenroom_rego::Authenticated { greenroom_rego::Authenticated::of_user(todo!()) }
//! ```
//! ```compile_fail
//! fn send(permit: &greenroom_rego::Permitted<u8>) -> String { serde_json::to_string(permit).unwrap_or_default() }
//! ```
//! ```compile_fail
//! fn copy(permit: &greenroom_rego::Permitted<u8>) -> greenroom_rego::Permitted<u8> { permit.clone() }
//! ```

pub mod access_matrix;
pub mod access_request;
pub mod bundle;
pub mod engine;
pub mod facts;
pub mod guard;
pub mod identity;
pub mod permit;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;

pub use access_matrix::{AccessMatrix, Subject, access_matrix};
pub use access_request::{AccessRequest, Action, Input};
pub use bundle::{Bundle, BundleError};
pub use engine::allowed::PolicyDecision;
pub use engine::explain::{Check, DenyReason, Explanation};
pub use engine::{Engine, EvaluationError};
pub use facts::{AgentFacts, Facts, Relation, Resource, Spent, UsageFacts};
pub use guard::{Denied, Evaluator, Guard};
pub use identity::authenticated::{Authenticated, Idempotency};
pub use identity::authenticator::{Authenticator, IdentityProvider, RecoveryRequest};
pub use identity::{AuthMethod, Caller, Limits, NameSet, Permissions, Principal};
pub use permit::{Checks, Grant, Obligations, Permitted, TypedPermit};
pub use snapshot::{CacheDir, Compiled, Compiler, PolicySnapshot, SnapshotError};
