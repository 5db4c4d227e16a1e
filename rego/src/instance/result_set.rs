//! Decodes what OPA returns from an entrypoint.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// OPA returns a set of bindings: one, or none if the rule is undefined. More than one is an error.
pub(crate) struct ResultSet<T>(pub(crate) Option<T>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binding<T> {
    result: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ResultSet<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SingleBinding<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for SingleBinding<T> {
            type Value = ResultSet<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("at most one result")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut bindings: A) -> Result<ResultSet<T>, A::Error> {
                let first = bindings.next_element::<Binding<T>>()?;
                if first.is_some() && bindings.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("the policy returned more than one result"));
                }
                Ok(ResultSet(first.map(|binding| binding.result)))
            }
        }
        deserializer.deserialize_seq(SingleBinding(std::marker::PhantomData))
    }
}
