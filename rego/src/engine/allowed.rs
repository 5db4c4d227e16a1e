//! The hot decision: allow, with its obligations, or nothing.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Engine, EvaluationError, FUEL_MAX};
use crate::access_request::Input;
use crate::access_request::input::InputIdentity;

/// The entrypoint.
pub const ENTRYPOINT: &str = "guard/allowed";

/// What has to be kept to while doing what was permitted. An obligation that this host does not know
/// is a fault, and a fault denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Obligations {
    /// No model outside the house may answer, on no step of the fallback chain.
    #[serde(
        deserialize_with = "int_to_bool",
        serialize_with = "bool_to_int",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub internal_models_only: bool,
    /// The audit's closing must be durable before the answer goes out.
    #[serde(
        deserialize_with = "int_to_bool",
        serialize_with = "bool_to_int",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub audit_before_reply: bool,
}

fn int_to_bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match u8::deserialize(deserializer)? {
        1 => Ok(true),
        other => Err(D::Error::custom(format!("an obligation is written 1, not {other}"))),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn bool_to_int<S: serde::Serializer>(on: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::from(*on))
}

/// What an allow rests on.
#[derive(Debug)]
pub(crate) struct AllowDetails {
    pub(crate) checks: Arc<[Arc<str>]>,
    pub(crate) obligations: Obligations,
    pub(crate) revision: Arc<str>,
}

/// The answer to one question, and to no other. Only an engine makes one, and it cannot be copied.
#[must_use]
#[derive(Debug)]
pub struct PolicyDecision {
    identity: InputIdentity,
    details: Option<AllowDetails>,
}

impl PolicyDecision {
    pub(crate) fn new(input: &Input, details: Option<AllowDetails>) -> Self {
        Self { identity: input.identity.clone(), details }
    }

    /// True if policy allows it.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.details.is_some()
    }

    /// Opens it with the input that it was made from.
    pub(crate) fn open_for(self, input: &Input) -> Result<Option<AllowDetails>, EvaluationError> {
        if self.identity.is_same(&input.identity) { Ok(self.details) } else { Err(EvaluationError::DecisionMismatch) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    allow: bool,
    obligations: Obligations,
}

/// OPA answers a set of bindings: one, or none where the rule is undefined. More than one is a fault.
pub(crate) struct ResultSet<T>(pub(crate) Option<T>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding<T> {
    result: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ResultSet<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for One<T> {
            type Value = ResultSet<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most one result")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<ResultSet<T>, A::Error> {
                let first = rows.next_element::<Binding<T>>()?;
                if first.is_some() && rows.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("the policy gave more than one result"));
                }
                Ok(ResultSet(first.map(|row| row.result)))
            }
        }
        deserializer.deserialize_seq(One(std::marker::PhantomData))
    }
}

impl Engine {
    /// Asks whether policy allows it.
    ///
    /// # Errors
    /// [`Fault`] if the evaluation fails or its answer cannot be read; the instance is replaced.
    pub async fn allowed(&mut self, input: &Input) -> Result<PolicyDecision, EvaluationError> {
        let snapshot = Arc::clone(self.snapshot());
        let seen = input.pruned(snapshot.read_set());
        let answer: ResultSet<Allow> = self.evaluate(ENTRYPOINT, &seen, FUEL_MAX).await?;
        let grounds = answer.0.filter(|answer| answer.allow).map(|answer| AllowDetails {
            checks: snapshot.checks(input.action),
            obligations: answer.obligations,
            revision: Arc::clone(snapshot.revision()),
        });
        Ok(PolicyDecision::new(input, grounds))
    }
}
