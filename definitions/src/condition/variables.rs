//! The variables of a condition: the values that it names, converted within bounds.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{Json, Values};

use super::arithmetic::from_json;
use super::names::VariableRef;
use super::rewrite::EXECUTED_STEPS;
use crate::bounds::{CONDITION_INPUT_BYTES_MAX, CONDITION_ITEMS_MAX};
use crate::scope::Scope;

/// The remaining size of the values that a condition may reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputBudget {
    bytes_left: u64,
    comprehends: bool,
}

impl InputBudget {
    /// The whole size. Lists are bounded too if the condition iterates over one.
    pub(super) const fn new(comprehends: bool) -> Self {
        Self { bytes_left: CONDITION_INPUT_BYTES_MAX, comprehends }
    }

    fn put(&mut self, into: &mut HashMap<String, Value>, name: &str, value: Option<&Json>) -> Result<(), String> {
        if let Some(value) = value {
            into.insert(name.to_owned(), self.take(value)?);
        }
        Ok(())
    }

    fn put_all(&mut self, into: &mut HashMap<String, Value>, values: &Values) -> Result<(), String> {
        values.iter().try_for_each(|(name, value)| self.put(into, name, Some(value)))
    }

    /// Converts a value that the condition references.
    pub(super) fn take(&mut self, value: &Json) -> Result<Value, String> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(size_bytes(value))
            .ok_or_else(|| format!("references more than {CONDITION_INPUT_BYTES_MAX} bytes"))?;
        self.convert(value)
    }

    fn convert(&self, value: &Json) -> Result<Value, String> {
        Ok(match value {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => from_json(number),
            Json::String(text) => Value::from(text.as_str()),
            Json::Array(items) => {
                self.check_count("list", items.len(), "items")?;
                Value::List(Arc::new(items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?))
            }
            Json::Object(members) => {
                self.check_count("map", members.len(), "members")?;
                let convert = |(name, member): (&String, &Json)| Ok((name.clone(), self.convert(member)?));
                let map: HashMap<String, Value> = members.iter().map(convert).collect::<Result<_, String>>()?;
                map.into()
            }
        })
    }

    fn check_count(&self, kind: &str, count: usize, noun: &str) -> Result<(), String> {
        if self.comprehends && count > CONDITION_ITEMS_MAX {
            return Err(format!("iterates over a {kind} of {count} {noun}, {CONDITION_ITEMS_MAX} are allowed"));
        }
        Ok(())
    }
}

/// The variables of a condition in a scope, except the item and its index.
///
/// A step that is not in the scope was skipped. It has outputs without members, so that `has()` of one is false.
pub(super) fn shared_variables<'r>(
    variable_refs: impl IntoIterator<Item = &'r VariableRef>,
    scope: &Scope<'_>,
    budget: &mut InputBudget,
) -> Result<Vec<(&'static str, Value)>, String> {
    let (mut inputs, mut context, mut executed) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut steps: HashMap<String, HashMap<String, Value>> = HashMap::new();
    for reference in variable_refs {
        match reference {
            VariableRef::Input(name) => budget.put(&mut inputs, name, scope.inputs.get(name.as_str()))?,
            VariableRef::Inputs => budget.put_all(&mut inputs, scope.inputs)?,
            VariableRef::Context(name) => {
                let value = scope.context.get(name.as_str()).or_else(|| scope.inputs.get(name.as_str()));
                budget.put(&mut context, name, value)?;
            }
            VariableRef::AllContext => budget.put_all(&mut context, scope.context)?,
            VariableRef::Output(step, name) => {
                let outputs = steps.entry(step.clone()).or_default();
                budget.put(outputs, name, scope.steps.get(step.as_str()).and_then(|all| all.get(name.as_str())))?;
            }
            VariableRef::Outputs(step) => {
                let outputs = steps.entry(step.clone()).or_default();
                scope.steps.get(step.as_str()).map_or(Ok(()), |all| budget.put_all(outputs, all))?;
            }
            VariableRef::Executed(step) => {
                if scope.steps.contains_key(step.as_str()) {
                    executed.insert(step.clone(), Value::Bool(true));
                }
            }
            VariableRef::Item | VariableRef::Index => {}
        }
    }
    let to_step = |(step, outputs): (String, HashMap<String, Value>)| {
        (step, Value::from(HashMap::from([("outputs".to_owned(), Value::from(outputs))])))
    };
    let steps: HashMap<String, Value> = steps.into_iter().map(to_step).collect();
    Ok(vec![
        ("inputs", inputs.into()),
        ("context", context.into()),
        ("steps", steps.into()),
        (EXECUTED_STEPS, executed.into()),
    ])
}
