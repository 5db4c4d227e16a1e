//! Authentication and authorization: identity, the access request, the policy that decides it, and
//! the permit.
//!
//! Only this crate makes [`Authenticated`] and [`Permitted`], and so every right to call an actor. It
//! does not contain users (the `supervisor` implements [`IdentityProvider`]), knowledge of what exists
//! (the pipeline passes it as [`Facts`]), actors (they implement [`Evaluator`]), HTTP or NATS.
//!
//! No other crate can make an authenticated request, a policy decision or a permit:
//!
//! ```compile_fail
//! let permit: greenroom_rego::Permitted<u8> = greenroom_rego::Permitted { grant: todo!(), request: 1 };
//! ```
//! ```compile_fail
//! let decision = greenroom_rego::PolicyDecision { identity: todo!(), details: None };
//! ```
//! ```compile_fail
//! fn twice(decision: greenroom_rego::PolicyDecision) { let other = decision.clone(); drop((decision, other)); }
//! ```
//! ```compile_fail
//! fn forge() -> greenroom_rego::Authenticated { greenroom_rego::Authenticated::for_user(todo!()) }
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
pub mod instance;
pub mod permit;
pub mod rego_text;
pub mod snapshot;
#[cfg(feature = "testing")]
pub mod testing;

pub use access_matrix::{AccessMatrix, Subject, access_matrix, is_allowed_at_best};
pub use access_request::{AccessRequest, Action, Input};
pub use bundle::{Bundle, BundleError};
pub use engine::Engine;
pub use engine::allowed::PolicyDecision;
pub use engine::explain::Explanation;
pub use facts::{AgentFacts, Facts, Relation, Resource, UsageFacts, UsageTotals};
pub use guard::{Denied, Evaluator, Guard};
pub use identity::authenticated::{Authenticated, Idempotency, SpendingBound, SpendingScope};
pub use identity::authenticator::{Authenticator, IdentityProvider, RecoveryRequest};
pub use identity::delegated_call::{DelegatedCall, DelegationVerifier, VerifiedDelegation};
pub use identity::entry_points::EntryPoints;
pub use identity::{AuthMethod, Caller, Limits, NameSet, Permissions, Principal};
pub use instance::EvaluationError;
pub use instance::allowed::Obligations;
pub use instance::explain::{Check, DenyReason};
pub use permit::{Checks, Grant, Permitted, TypedPermit};
pub use snapshot::{CacheDir, CompiledBundle, Compiler, PolicySnapshot, PolicyWarning, SnapshotError};
