//! The type of a reference in a workflow, as far as the definitions declare it, and whether it contradicts the type of
//! the input that receives its value. What is not declared is never reported.

use std::borrow::Cow;

use greenroom_protocol::Json;

use super::index::{Index, Lookup, lookup};
use crate::expr::{Expr, Reference, ReferenceRoot, Segment};
use crate::types::{FieldType, ValueType};
use crate::workflow::{StepSpec, WorkflowSpec};

/// Workflows that are followed from a step to the output of the workflow that executes it.
const WORKFLOWS_DEPTH_MAX: usize = 4;

/// Where a reference is written.
#[derive(Clone, Copy)]
pub(super) struct ReferenceTypes<'a> {
    pub(super) index: &'a Index<'a>,
    pub(super) spec: &'a WorkflowSpec,
    /// The step; none for the outputs of the workflow.
    pub(super) step: Option<&'a StepSpec>,
    /// True in the compensation of the step, where the outputs of the step are those of one item.
    pub(super) is_compensation: bool,
}

impl<'a> ReferenceTypes<'a> {
    /// The type of the value of a reference, if it is declared.
    pub(super) fn type_of(&self, reference: &Reference) -> Option<Cow<'a, ValueType>> {
        self.type_within(reference, WORKFLOWS_DEPTH_MAX)
    }

    fn type_within(&self, reference: &Reference, depth: usize) -> Option<Cow<'a, ValueType>> {
        let rest = reference.path.get(1..).unwrap_or_default();
        match (&reference.root, reference.name()) {
            (ReferenceRoot::Inputs, Some(name)) => {
                let field = self.spec.inputs.iter().find(|field| field.name == name)?;
                follow(Cow::Borrowed(&field.value_type), rest)
            }
            (ReferenceRoot::Step(id), Some(name)) => {
                let step = self.spec.steps.iter().find(|step| step.id == *id)?;
                let output = self.output_type(step, name, depth)?;
                let is_one_item = self.is_compensation && self.step.is_some_and(|own| own.id == step.id);
                follow(if step.for_each.is_some() && !is_one_item { list_of(output) } else { output }, rest)
            }
            (ReferenceRoot::Inputs | ReferenceRoot::Step(_), None) => {
                Some(Cow::Owned(ValueType::new(FieldType::Object)))
            }
            (ReferenceRoot::Item, _) => {
                let Expr::Reference(items) = Expr::parse(&self.step?.for_each.as_ref()?.items).ok()? else {
                    return None;
                };
                // A reference to an item inside its own list has no value.
                if items.root == ReferenceRoot::Item {
                    return None;
                }
                let list = self.type_within(&items, depth)?;
                let path: Vec<Segment> =
                    [Segment::Index(0)].into_iter().chain(reference.path.iter().cloned()).collect();
                follow(list, &path)
            }
            (ReferenceRoot::Index, _) => Some(Cow::Owned(ValueType::new(FieldType::Integer))),
            (ReferenceRoot::Context, _) => None,
        }
    }

    /// The type of an output of a step: that of its agent, or of the expression of its workflow.
    fn output_type(&self, step: &'a StepSpec, name: &str, depth: usize) -> Option<Cow<'a, ValueType>> {
        if let Some(Lookup::Found(agent)) = step.agent.as_ref().map(|id| self.index.agent(id)) {
            // The only name of a step is that of the first output of an agent that has no output of the name.
            let is_only_name = step.outputs.len() == 1 && step.outputs.iter().any(|only| only == name);
            let renamed = || agent.spec().outputs.first().filter(|_| is_only_name);
            return agent.output(name).or_else(renamed).map(|field| Cow::Borrowed(&field.value_type));
        }
        let Lookup::Found(inner) = lookup(&self.index.workflows, step.workflow.as_ref()?.as_str()) else { return None };
        let value: &Json = match name {
            "final_output" => inner.final_output.as_ref()?,
            _ => inner.outputs.get(name)?,
        };
        let Expr::Reference(reference) = Expr::parse(value).ok()? else { return None };
        let types = ReferenceTypes { index: self.index, spec: inner, step: None, is_compensation: false };
        types.type_within(&reference, depth.checked_sub(1)?)
    }
}

fn list_of(item: Cow<'_, ValueType>) -> Cow<'_, ValueType> {
    Cow::Owned(ValueType { items: Some(Box::new(item.into_owned())), ..ValueType::new(FieldType::Array) })
}

/// Follows a path into a type; `None` if a part of it is not declared.
fn follow<'a>(value_type: Cow<'a, ValueType>, path: &[Segment]) -> Option<Cow<'a, ValueType>> {
    path.iter().try_fold(value_type, |value_type, segment| {
        let inner = |value_type: &'a ValueType| match segment {
            Segment::Name(name) => value_type.properties.get(name).map(|property| &property.value_type),
            Segment::Index(_) => value_type.items.as_deref(),
        };
        match value_type {
            Cow::Borrowed(value_type) => inner(value_type).map(Cow::Borrowed),
            Cow::Owned(mut value_type) => match segment {
                Segment::Name(name) => {
                    value_type.properties.remove(name).map(|property| Cow::Owned(property.value_type))
                }
                Segment::Index(_) => value_type.items.map(|items| Cow::Owned(*items)),
            },
        }
    })
}

/// Two kinds that no value has at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The path of the values, such as `[].amount`; empty for the whole value.
    pub(super) path: String,
    /// The kind of the value.
    pub(super) found: FieldType,
    /// The kind of its receiver.
    pub(super) expected: FieldType,
}

/// Finds the first part of a value of one type that its receiver rejects for its kind, whatever the value is.
pub(super) fn contradiction(found: &ValueType, expected: &ValueType) -> Option<Contradiction> {
    let inside = |step: String, found: &ValueType, expected: &ValueType| {
        contradiction(found, expected).map(|inner| Contradiction { path: format!("{step}{}", inner.path), ..inner })
    };
    match (found.kind, expected.kind) {
        (FieldType::Array, FieldType::Array) => {
            inside("[]".to_owned(), found.items.as_deref()?, expected.items.as_deref()?)
        }
        (FieldType::Object, FieldType::Object) => found.properties.iter().find_map(|(name, property)| {
            inside(format!(".{name}"), &property.value_type, &expected.properties.get(name)?.value_type)
        }),
        (found, expected) => (!may_be(found, expected)).then(|| Contradiction { path: String::new(), found, expected }),
    }
}

/// True if a value of one kind may be one of another: `5.0` is a whole number, and a path of a file is a text.
fn may_be(found: FieldType, expected: FieldType) -> bool {
    let is_text = |kind: FieldType| kind.is_text() || kind == FieldType::File;
    let is_number = |kind: FieldType| matches!(kind, FieldType::Integer | FieldType::Number);
    found == expected || (is_text(found) && is_text(expected)) || (is_number(found) && is_number(expected))
}

#[cfg(test)]
mod tests {
    use super::{FieldType, ValueType, contradiction};

    fn value_type(json: serde_json::Value) -> ValueType {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn kinds_that_no_value_has_at_once_contradict_each_other() {
        for (found, expected, is_contradiction) in [
            (FieldType::Array, FieldType::Number, true),
            (FieldType::Text, FieldType::Number, true),
            (FieldType::Object, FieldType::Text, true),
            (FieldType::Boolean, FieldType::String, true),
            (FieldType::Integer, FieldType::Number, false),
            (FieldType::Number, FieldType::Integer, false),
            (FieldType::File, FieldType::Text, false),
            (FieldType::String, FieldType::File, false),
        ] {
            let found_type = ValueType::new(found);
            assert_eq!(
                contradiction(&found_type, &ValueType::new(expected)).is_some(),
                is_contradiction,
                "{found} {expected}"
            );
        }
    }

    #[test]
    fn a_contradiction_deep_in_a_value_has_its_path() {
        let rows = |kind: &str| {
            let row = serde_json::json!({ "type": "object", "properties": { "amount": { "type": kind } } });
            value_type(serde_json::json!({ "type": "array", "items": row }))
        };
        let found = contradiction(&rows("text"), &rows("number")).unwrap();
        assert_eq!(
            (found.path.as_str(), found.found, found.expected),
            ("[].amount", FieldType::Text, FieldType::Number)
        );
        assert_eq!(contradiction(&rows("text"), &ValueType::new(FieldType::Array)), None);
    }
}
