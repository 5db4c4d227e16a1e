//! The audit log as it is written and hashed: an entry is opened before the act and closed after it.
//!
//! The hash of a record covers the hash of the previous record, then the compact JSON of [`Record`]
//! with its fields in the order of this file. `greenroom audit verify` needs no other definition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::hash::ContentHash;
use crate::id::{Issuer, PodId, RequestId, TenantId, TraceId, UserId};
use crate::money::{MicroUsd, Tokens};
use crate::reply::Status;
use crate::time::Timestamp;
use crate::value::Json;
use crate::version::WrittenVersion;

/// The opening of an entry: the access request, written before the act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opening {
    /// The request.
    pub request: RequestId,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The pod that received the request.
    pub pod: PodId,
    /// The issuer of the principal; `local` in the record of a release without issuers.
    #[serde(default)]
    pub issuer: Issuer,
    /// The tenant of the principal.
    pub tenant: TenantId,
    /// The user of the principal.
    pub user: UserId,
    /// The caller: `user:admin`, `workflow:run_…/gather_data`, `agent:ID`, `team:ID`.
    pub caller: String,
    /// The verb, such as `invoke`.
    pub action: String,
    /// The resource, such as an agent's id.
    pub resource: String,
    /// The run that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// The closing of an entry: the outcome, written after the act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Closing {
    /// The status of the outcome.
    pub status: Status,
    /// The error code, unless the status is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The checks that the policy passed, or the reasons for its denial.
    pub checks: Vec<String>,
    /// The revision of the policy that decided; `None` if the request did not reach the guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<String>,
    /// The version of the resource that was authorized and executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// The time from opening to closing.
    pub elapsed_us: u64,
    /// Tokens, as reported by the providers.
    pub tokens: Tokens,
    /// The cost.
    pub cost: MicroUsd,
}

/// The content of one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// An entry was opened.
    Opened(Opening),
    /// An entry was closed.
    Closed {
        /// The number of the record that opened the entry.
        opened: u64,
        /// The outcome.
        #[serde(flatten)]
        closing: Closing,
    },
    /// The process ended while the entry was open; the next process recorded that.
    Interrupted {
        /// The number of the record that opened the entry.
        opened: u64,
    },
    /// An event of the platform itself: a policy or a definition was replaced, or its reload rejected.
    System {
        /// The subject: `policy`, `definitions`, `users`, `audit`.
        subject: String,
        /// A sentence that describes the event.
        message: String,
    },
    /// A break of the chain: a backup replaced the database. The records that were written after the backup are
    /// in the database that was replaced, and not in this chain.
    Restored(Restored),
    /// An event that this release does not know, as another one has written it.
    #[serde(untagged)]
    Unknown(Json),
}

/// The break of a chain by a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// The issuer of the user; `local` in the record of a release without issuers.
    #[serde(default)]
    pub issuer: Issuer,
    /// The tenant of the user.
    pub tenant: TenantId,
    /// The user who has restored the backup.
    pub user: UserId,
    /// The file of the backup.
    pub backup: String,
    /// The last record of the backup, which this record follows.
    pub restored: RecordRef,
    /// The last signed record of the chain that was replaced; `None` if none was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<RecordRef>,
}

/// One record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordRef {
    /// Its number; zero before the first record.
    pub number: u64,
    /// Its hash.
    pub hash: ContentHash,
}

/// One record of the hash chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The position in the chain: 1, 2, 3, … without a gap.
    pub number: u64,
    /// The hash of the previous record; for the first record, the hash of the empty string.
    pub previous: ContentHash,
    /// The time of writing.
    pub at: Timestamp,
    /// The content.
    pub event: Event,
    /// The version of the release that has written it.
    #[serde(default = "WrittenVersion::first", skip_serializing_if = "WrittenVersion::is_first")]
    pub protocol_version: WrittenVersion,
}
