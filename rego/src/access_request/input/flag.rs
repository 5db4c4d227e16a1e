//! The members of the policy input that are not data: a fact that is proven or absent, and the identity of an
//! input.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A fact that is proven or absent: it is serialized as `1`, or omitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flag(pub bool);

impl Flag {
    pub(super) const fn is_off(&self) -> bool {
        !self.0
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(self.0))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            1 => Ok(Self(true)),
            other => Err(D::Error::custom(format!("a proven fact has the value 1, not {other}"))),
        }
    }
}

/// An identity that equals only its own clones. A policy decision carries the identity of the input
/// that it was made from.
#[derive(Debug, Clone)]
pub(crate) struct InputIdentity(Arc<()>);

impl InputIdentity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(()))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for InputIdentity {
    fn default() -> Self {
        Self::new()
    }
}
