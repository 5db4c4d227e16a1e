//! The result of the hot entrypoint: allow with obligations, or undefined.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The path of the entrypoint.
pub const ENTRYPOINT: &str = "guard/allowed";

/// The obligations of an allow, for the executor of the request. An obligation that this host does not know
/// is an evaluation error, and so denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Obligations {
    /// Only internal models may be called, on every step of the fallback chain.
    #[serde(
        deserialize_with = "int_to_bool",
        serialize_with = "bool_to_int",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub internal_models_only: bool,
    /// The closed audit entry must be durable before the reply is sent.
    #[serde(
        deserialize_with = "int_to_bool",
        serialize_with = "bool_to_int",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub audit_before_reply: bool,
    /// The handler of the called agent may use the network, if the definition of that agent itself names the policy.
    #[serde(
        deserialize_with = "int_to_bool",
        serialize_with = "bool_to_int",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub network_allowed: bool,
}

fn int_to_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match u8::deserialize(deserializer)? {
        1 => Ok(true),
        other => Err(D::Error::custom(format!("an obligation has the value 1, not {other}"))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn bool_to_int<S: serde::Serializer>(on: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::from(*on))
}

/// The value of the entrypoint, if it is defined.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allow {
    pub(crate) allow: bool,
    pub(crate) obligations: Obligations,
}
