//! `items: text`: a type that is only a kind is written as its name.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FieldType, ValueType};

/// Either form of a type.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<T> {
    Short(FieldType),
    Full(T),
}

/// The items of an array, for `serde(with = …)`.
pub(super) mod items {
    use super::{Deserialize, Deserializer, Form, Serialize, Serializer, ValueType};

    pub(in crate::types) fn serialize<S: Serializer>(
        items: &Option<Box<ValueType>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let form = items.as_deref().map(|items| {
            let is_only_kind = *items == ValueType::new(items.kind);
            if is_only_kind { Form::Short(items.kind) } else { Form::Full(items) }
        });
        form.serialize(serializer)
    }

    pub(in crate::types) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Box<ValueType>>, D::Error> {
        let form = Option::<Form<Box<ValueType>>>::deserialize(deserializer)?;
        Ok(form.map(|form| match form {
            Form::Short(kind) => Box::new(ValueType::new(kind)),
            Form::Full(items) => items,
        }))
    }
}
