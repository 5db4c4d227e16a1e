//! Follows the path of a reference along the tree of a type.

use super::{FieldType, ValueType};
use crate::expr::Segment;
use crate::problem::did_you_mean;

/// A name in a path that the type at its place does not declare.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UndeclaredProperty {
    /// The path of the object, such as `[2]`; empty for the whole value.
    pub(crate) object: String,
    pub(crate) name: String,
    /// A suggestion of a similar name, as the end of a sentence.
    pub(crate) hint: String,
}

impl ValueType {
    /// Finds the first name of a path that is not declared. A part without a declaration may have any name.
    pub(crate) fn find_undeclared(&self, path: &[Segment]) -> Option<UndeclaredProperty> {
        let (mut value_type, mut object) = (self, String::new());
        for segment in path {
            match segment {
                Segment::Name(name) if !value_type.properties.is_empty() => {
                    let Some(property) = value_type.properties.get(name) else {
                        let hint = did_you_mean(name, value_type.properties.keys().map(String::as_str));
                        return Some(UndeclaredProperty { object, name: name.clone(), hint: hint.unwrap_or_default() });
                    };
                    value_type = &property.value_type;
                    object.push_str(&format!(".{name}"));
                }
                Segment::Name(name) if value_type.kind.is_scalar() => {
                    let hint = format!(", since that is {}", value_type.kind.described());
                    return Some(UndeclaredProperty { object, name: name.clone(), hint });
                }
                Segment::Index(index) if value_type.kind == FieldType::Array => {
                    value_type = value_type.items.as_deref()?;
                    object.push_str(&format!("[{index}]"));
                }
                Segment::Name(_) | Segment::Index(_) => return None,
            }
        }
        None
    }
}
