//! `when`: a CEL condition over `inputs`, `context`, `steps`, `item` and `index`.
//!
//! Its bounds are checked before it is parsed, and it is parsed when its workflow is loaded. It is
//! evaluated over only the values that it names, up to [`crate::bounds::CONDITION_INPUT_BYTES_MAX`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::{Context, Program, Value};
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};

use crate::bounds::{CONDITION_INPUT_BYTES_MAX, CONDITION_ITEMS_MAX, check_condition};
use crate::scope::Scope;

mod names;

use names::VariableRef;

/// A compiled condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: Arc<str>,
    program: Arc<Program>,
    variable_refs: BTreeSet<VariableRef>,
    comprehends: bool,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// The message of the problem.
    pub fn compile(text: &str) -> Result<Self, String> {
        let shape = check_condition(text).map_err(|bound| format!("the condition {bound}"))?;
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first();
            let message = first.map_or_else(String::new, |error| format!("at column {}: {}", error.pos.1, error.msg));
            format!("the condition cannot be parsed {}", message.trim())
        })?;
        let variable_refs = names::variable_refs(program.expression())?;
        Ok(Self { text: Arc::from(text), program: Arc::new(program), variable_refs, comprehends: shape.comprehends })
    }

    /// The condition as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The steps whose outputs it references.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.variable_refs.iter().filter_map(|reference| match reference {
            VariableRef::Output(step, _) | VariableRef::Outputs(step) => Some(step.as_str()),
            VariableRef::Input(_)
            | VariableRef::Context(_)
            | VariableRef::Inputs
            | VariableRef::AllContext
            | VariableRef::Item
            | VariableRef::Index => None,
        })
    }

    /// The outputs that it references by name, each with its step.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variable_refs.iter().filter_map(|reference| match reference {
            VariableRef::Output(step, name) => Some((step.as_str(), name.as_str())),
            VariableRef::Outputs(_)
            | VariableRef::Input(_)
            | VariableRef::Context(_)
            | VariableRef::Inputs
            | VariableRef::AllContext
            | VariableRef::Item
            | VariableRef::Index => None,
        })
    }

    /// The run's inputs that it references by name.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.variable_refs.iter().filter_map(|reference| match reference {
            VariableRef::Input(name) => Some(name.as_str()),
            VariableRef::Output(..)
            | VariableRef::Outputs(_)
            | VariableRef::Context(_)
            | VariableRef::Inputs
            | VariableRef::AllContext
            | VariableRef::Item
            | VariableRef::Index => None,
        })
    }

    /// True if it references this input of the run, by name, through the context, or with all others.
    #[must_use]
    pub fn uses_input(&self, name: &str) -> bool {
        self.variable_refs.iter().any(|reference| match reference {
            VariableRef::Input(input) | VariableRef::Context(input) => input == name,
            VariableRef::Inputs | VariableRef::AllContext => true,
            VariableRef::Output(..) | VariableRef::Outputs(_) | VariableRef::Item | VariableRef::Index => false,
        })
    }

    /// True if it references the item of a `for_each`.
    #[must_use]
    pub fn uses_item(&self) -> bool {
        self.variable_refs.contains(&VariableRef::Item) || self.variable_refs.contains(&VariableRef::Index)
    }

    /// Evaluates the condition.
    ///
    /// # Errors
    /// `expression_failed` if a value is missing, has the wrong type or is too large, or if the result is
    /// neither true nor false.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<bool, Cause> {
        let failed = |message: String| {
            Cause::new(ErrorCode::ExpressionFailed, format!("the condition `{}` {message}", self.text))
                .with_details(serde_json::json!({ "expression": &*self.text }))
        };
        let mut context = Context::default();
        for (name, value) in self.variables(scope).map_err(&failed)? {
            context.add_variable_from_value(name, value);
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(result)) => Ok(result),
            Ok(_) => Err(failed("must evaluate to true or false".into())),
            Err(error) => Err(failed(format!("failed: {error}"))),
        }
    }

    fn variables(&self, scope: &Scope<'_>) -> Result<Vec<(&'static str, Value)>, String> {
        let mut budget = InputBudget { bytes_left: CONDITION_INPUT_BYTES_MAX, comprehends: self.comprehends };
        let (mut inputs, mut context) = (HashMap::new(), HashMap::new());
        let mut steps: HashMap<String, HashMap<String, Value>> = HashMap::new();
        let mut variables = Vec::new();
        for reference in &self.variable_refs {
            match reference {
                VariableRef::Input(name) => budget.put(&mut inputs, name, scope.inputs.get(name.as_str()))?,
                VariableRef::Inputs => budget.put_all(&mut inputs, scope.inputs)?,
                VariableRef::Context(name) => {
                    let value = scope.context.get(name.as_str()).or_else(|| scope.inputs.get(name.as_str()));
                    budget.put(&mut context, name, value)?;
                }
                VariableRef::AllContext => budget.put_all(&mut context, scope.context)?,
                VariableRef::Output(step, name) => {
                    if let Some(outputs) = outputs_of(step, scope) {
                        budget.put(steps.entry(step.clone()).or_default(), name, outputs.get(name.as_str()))?;
                    }
                }
                VariableRef::Outputs(step) => {
                    if let Some(outputs) = outputs_of(step, scope) {
                        budget.put_all(steps.entry(step.clone()).or_default(), outputs)?;
                    }
                }
                VariableRef::Item => variables.push(("item", budget.take(scope.item.unwrap_or(&Json::Null))?)),
                VariableRef::Index => variables.push(("index", Value::Int(scope.index.map_or(0, i64::from)))),
            }
        }
        let to_step = |(step, outputs): (String, HashMap<String, Value>)| {
            (step, Value::from(HashMap::from([("outputs".to_owned(), Value::from(outputs))])))
        };
        let steps: HashMap<String, Value> = steps.into_iter().map(to_step).collect();
        variables.extend([("inputs", inputs.into()), ("context", context.into()), ("steps", steps.into())]);
        Ok(variables)
    }
}

fn outputs_of<'a>(step: &str, scope: &Scope<'a>) -> Option<&'a Values> {
    scope.steps.get(step)
}

/// The remaining size of the values that a condition may reference.
struct InputBudget {
    bytes_left: u64,
    comprehends: bool,
}

impl InputBudget {
    fn put(&mut self, into: &mut HashMap<String, Value>, name: &str, value: Option<&Json>) -> Result<(), String> {
        if let Some(value) = value {
            into.insert(name.to_owned(), self.take(value)?);
        }
        Ok(())
    }

    fn put_all(&mut self, into: &mut HashMap<String, Value>, values: &Values) -> Result<(), String> {
        values.iter().try_for_each(|(name, value)| self.put(into, name, Some(value)))
    }

    fn take(&mut self, value: &Json) -> Result<Value, String> {
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
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => Value::Int(whole),
                (None, Some(large)) => Value::UInt(large),
                (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::from(text.as_str()),
            Json::Array(items) => {
                if self.comprehends && items.len() > CONDITION_ITEMS_MAX {
                    return Err(format!(
                        "iterates over a list of {} items, {CONDITION_ITEMS_MAX} are allowed",
                        items.len()
                    ));
                }
                Value::List(Arc::new(items.iter().map(|item| self.convert(item)).collect::<Result<_, _>>()?))
            }
            Json::Object(members) => {
                let convert = |(name, member): (&String, &Json)| Ok((name.clone(), self.convert(member)?));
                let map: HashMap<String, Value> = members.iter().map(convert).collect::<Result<_, String>>()?;
                if self.comprehends && map.len() > CONDITION_ITEMS_MAX {
                    return Err(format!(
                        "iterates over a map of {} members, {CONDITION_ITEMS_MAX} are allowed",
                        map.len()
                    ));
                }
                map.into()
            }
        })
    }
}

#[cfg(test)]
mod tests;
