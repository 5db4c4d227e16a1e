//! The audit as it is written and hashed: an opening before the act, a closing after it.
//!
//! A record is hashed as the compact JSON of [`Record`] (fields in the order of this file) behind
//! the hash of the record before it; `greenroom audit verify` needs nothing but this file to check.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorCode;
use crate::hash::ContentHash;
use crate::id::{PodId, RequestId, TenantId, TraceId, UserId};
use crate::money::{MicroUsd, Tokens};
use crate::reply::Status;
use crate::time::Timestamp;

/// What is about to be asked of the guard, written before the act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Opening {
    /// The request.
    pub request: RequestId,
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// The pod that was asked.
    pub pod: PodId,
    /// On whose account.
    pub tenant: TenantId,
    /// On whose behalf.
    pub user: UserId,
    /// Who speaks: `user:admin`, `workflow:run_…/gather_data`, `agent:ID`, `team:ID`.
    pub caller: String,
    /// The verb, such as `invoke`.
    pub action: String,
    /// What it is about, such as an agent's id.
    pub resource: String,
    /// The run that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What came of it, written after the act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Closing {
    /// How it ended.
    pub status: Status,
    /// Why, if not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
    /// The checks that the policy proved, or the rules that denied.
    pub checks: Vec<String>,
    /// The revision of the policy that decided; none if it was never asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_revision: Option<String>,
    /// The version of the target that was judged and seated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ContentHash>,
    /// From opening to closing.
    pub elapsed_us: u64,
    /// Tokens, as the providers counted them.
    pub tokens: Tokens,
    /// What it cost.
    pub cost: MicroUsd,
}

/// What one record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// The act was about to be asked for.
    Opened(Opening),
    /// The act ended.
    Closed {
        /// The number of the opening.
        opened: u64,
        /// What came of it.
        #[serde(flatten)]
        closing: Closing,
    },
    /// The process ended between the two, and the next one found it so.
    Interrupted {
        /// The number of the opening.
        opened: u64,
    },
    /// Something happened to the platform itself: a policy or a definition was swapped or refused.
    System {
        /// What it is about: `policy`, `definitions`, `audit`.
        subject: String,
        /// What happened, in a sentence.
        message: String,
    },
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// 1, 2, 3, … without a gap.
    pub number: u64,
    /// The hash of the record before; of nothing, for the first.
    pub previous: ContentHash,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub event: Event,
}
