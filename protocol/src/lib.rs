//! The types that cross a process boundary, and no others.
//!
//! Every type here is versioned by [`limits::PROTOCOL_VERSION`], serialisable, and has a snapshot
//! test, because another pod, another release or a customer's client may read it. Transports (NATS,
//! HTTP, a socket), definitions, policy and stores are in other crates.

pub mod audit;
pub mod conversation;
pub mod envelope;
pub mod error;
pub mod event;
pub mod event_number;
pub mod frame;
pub mod hash;
pub mod header;
pub mod id;
pub mod journal;
pub mod limits;
pub mod money;
pub mod peek;
pub mod policy_name;
pub mod raw_input;
pub mod received;
pub mod reply;
pub mod request;
pub mod strict_json;
pub mod subject;
pub mod time;
pub mod value;
pub mod version;

pub use envelope::{Credential, Envelope};
pub use error::{Cause, ErrorCode};
pub use frame::{Frame, FrameId};
pub use hash::{ContentHash, ContentHasher};
pub use header::RequestHeaders;
pub use id::{
    AgentId, CallKey, CategoryId, ContextKey, EventId, EventName, IdempotencyKey, Issuer, PodId, PrincipalId,
    RequestId, RunId, StepId, TeamId, TenantId, ToolCallId, TraceId, UserId, WorkflowId,
};
pub use money::{MicroUsd, Period, PriceBasis, SpendingLimits, Tokens};
pub use received::{IngressKind, Received};
pub use reply::{Metadata, Outcome, Reply, Status};
pub use request::Request;
pub use subject::{IngressSubject, SubjectRequest, Subjects};
pub use time::{BootTime, Clock, DatabaseTime, Deadline, IdGenerator, Timestamp};
pub use value::{ArtifactRef, Json, Values};
pub use version::WrittenVersion;
