//! The usage of a user in the policy input.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flag::Flag;

/// The usage so far, and the remaining amounts.
///
/// Empty if the ledger is unavailable: rules that need a number then deny. An amount has 128 bits, so that
/// every remaining amount of 64 bits and the −1 are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct UsageInput {
    /// Requests of the user in the last hour that are no queries, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub requests: Option<u64>,
    /// Queries of the user in the last hour, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub queries: Option<u64>,
    /// Neither tokens nor money are limited; both numbers are then omitted.
    #[serde(skip_serializing_if = "Flag::is_off")]
    #[schemars(with = "u8")]
    pub unlimited: Flag,
    /// Tokens that the user and the tenant may still use; −1 without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i128")]
    pub tokens_left: Option<i128>,
    /// Millionths of a dollar that the user and the tenant may still spend; −1 without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i128")]
    pub usd_left: Option<i128>,
}
