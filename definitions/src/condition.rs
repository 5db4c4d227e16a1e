//! `when`: a CEL condition over `inputs`, `context`, `steps`, `item` and `index`.
//!
//! Its bounds are checked before it is parsed, and it is parsed when its workflow is loaded. It is
//! evaluated over only the values that it names, up to [`crate::bounds::CONDITION_INPUT_BYTES_MAX`].

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::{Context, Env, ExecutionError, IdedExpr, ParseErrors, Value};
use greenroom_protocol::{Cause, ErrorCode, Json, StepId};

use crate::bounds::{CONDITION_LOOP_COST_MAX, check_condition};
use crate::named_values::NamedValues;
use crate::scope::Scope;

mod allowed;
mod arithmetic;
mod names;
mod rewrite;
mod variables;

use allowed::Shape;
use names::VariableRef;
use variables::{InputBudget, shared_variables};

/// A compiled condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: Arc<str>,
    expression: Arc<IdedExpr>,
    variable_refs: BTreeSet<VariableRef>,
    shape: Shape,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// What a condition decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is true.
    True,
    /// It is false.
    False,
    /// It is neither, because it reads an output of these skipped steps without testing it with `has()`.
    Absent(Vec<StepId>),
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// The message of the problem.
    pub fn compile(text: &str) -> Result<Self, String> {
        check_condition(text).map_err(|bound| format!("the condition {bound}"))?;
        let environment =
            arithmetic::environment().map_err(|reason| format!("the condition is not usable: {reason}"))?;
        // Without macros, the syntax tree has the calls as they are written.
        let written = Env::default().with_optional_support(false).parser().parse(text).map_err(|e| unreadable(&e))?;
        let shape = allowed::check(&written).map_err(|bound| format!("the condition {bound}"))?;
        let mut expression = environment.parser().parse(text).map_err(|errors| unreadable(&errors))?;
        rewrite::rewrite(&mut expression);
        let variable_refs = names::variable_refs(&expression)?;
        Ok(Self { text: Arc::from(text), expression: Arc::new(expression), variable_refs, shape })
    }

    /// The condition as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The steps that it references.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.variable_refs.iter().filter_map(|reference| match reference {
            VariableRef::Output(step, _) | VariableRef::Outputs(step) | VariableRef::Executed(step) => {
                Some(step.as_str())
            }
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
            | VariableRef::Executed(_)
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
            | VariableRef::Executed(_)
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
            VariableRef::Output(..)
            | VariableRef::Outputs(_)
            | VariableRef::Executed(_)
            | VariableRef::Item
            | VariableRef::Index => false,
        })
    }

    /// True if it references the item of a `for_each`.
    #[must_use]
    pub fn uses_item(&self) -> bool {
        self.variable_refs.contains(&VariableRef::Item) || self.variable_refs.contains(&VariableRef::Index)
    }

    /// Adds the values that it references.
    pub(crate) fn name_values(&self, named: &mut NamedValues) {
        for reference in &self.variable_refs {
            match reference {
                VariableRef::Input(name) => named.inputs.add(Some(name)),
                VariableRef::Inputs => named.inputs.add(None),
                VariableRef::Context(name) => {
                    named.context.add(Some(name));
                    named.inputs.add(Some(name));
                }
                VariableRef::AllContext => named.context.add(None),
                VariableRef::Output(step, name) => named.add_step(step, Some(name)),
                VariableRef::Outputs(step) => named.add_step(step, None),
                VariableRef::Executed(step) => named.add_step_only(step),
                VariableRef::Item | VariableRef::Index => {}
            }
        }
    }

    /// Evaluates the condition.
    ///
    /// # Errors
    /// `expression_failed` if a value is missing, has the wrong type or is too large, or if the result is
    /// neither true nor false.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Verdict, Cause> {
        self.bind(scope)?.evaluate(scope.item, scope.index)
    }

    /// Converts the values that the condition references, except the item, once for all items.
    ///
    /// # Errors
    /// `expression_failed` if they are too large.
    pub fn bind<'c>(&'c self, scope: &Scope<'_>) -> Result<BoundCondition<'c>, Cause> {
        let mut budget = InputBudget::new(self.shape.comprehends);
        let environment = arithmetic::environment().map_err(|reason| self.error(&reason))?;
        let mut context = Context::with_env(environment);
        let variables = shared_variables(&self.variable_refs, scope, &mut budget);
        for (name, value) in variables.map_err(|message| self.error(&message))? {
            context.add_variable_from_value(name, value);
        }
        let skipped = self.steps().filter_map(|step| StepId::new(step).ok()).filter(|id| !scope.steps.contains_key(id));
        Ok(BoundCondition { condition: self, context, budget, skipped: skipped.collect() })
    }

    /// Checks that the condition can be evaluated for so many items.
    ///
    /// # Errors
    /// `expression_failed` if that could take more than [`CONDITION_LOOP_COST_MAX`] operations.
    pub fn check_items(&self, count: usize) -> Result<(), Cause> {
        let cost = self.shape.cost.saturating_mul(count as u64);
        if cost <= CONDITION_LOOP_COST_MAX {
            return Ok(());
        }
        Err(self.error(&format!("may take {cost} operations for {count} items, {CONDITION_LOOP_COST_MAX} are allowed")))
    }

    fn error(&self, message: &str) -> Cause {
        Cause::new(ErrorCode::ExpressionFailed, format!("the condition `{}` {message}", self.text))
            .with_details(serde_json::json!({ "expression": &*self.text }))
    }

    /// The skipped steps whose output of this name the condition references.
    fn steps_without(&self, output: &str, skipped: &BTreeSet<StepId>) -> Vec<StepId> {
        let names_output = |id: &&StepId| {
            let names = |(step, name): (&str, &str)| step == id.as_str() && name == output;
            self.outputs().any(names) || self.variable_refs.contains(&VariableRef::Outputs(id.to_string()))
        };
        skipped.iter().filter(names_output).cloned().collect()
    }
}

/// A condition with the values that it references, except the item of a `for_each`.
pub struct BoundCondition<'c> {
    condition: &'c Condition,
    context: Context<'static, 'static>,
    budget: InputBudget,
    /// The steps that the condition references and that were skipped.
    skipped: BTreeSet<StepId>,
}

impl BoundCondition<'_> {
    /// Evaluates the condition for an item.
    ///
    /// # Errors
    /// As [`Condition::evaluate`].
    pub fn evaluate(&self, item: Option<&Json>, index: Option<u32>) -> Result<Verdict, Cause> {
        let condition = self.condition;
        let mut context = self.context.new_inner_scope();
        if condition.variable_refs.contains(&VariableRef::Item) {
            let mut budget = self.budget;
            let item = budget.take(item.unwrap_or(&Json::Null)).map_err(|message| condition.error(&message))?;
            context.add_variable_from_value("item", item);
        }
        if condition.variable_refs.contains(&VariableRef::Index) {
            context.add_variable_from_value("index", Value::Int(index.map_or(0, i64::from)));
        }
        match Value::resolve(&condition.expression, &context) {
            Ok(Value::Bool(true)) => Ok(Verdict::True),
            Ok(Value::Bool(false)) => Ok(Verdict::False),
            Ok(_) => Err(condition.error("must evaluate to true or false")),
            Err(ExecutionError::NoSuchKey(name)) => match condition.steps_without(&name, &self.skipped) {
                none if none.is_empty() => Err(condition.error(&format!("failed: No such key: {name}"))),
                steps => Ok(Verdict::Absent(steps)),
            },
            Err(error) => Err(condition.error(&format!("failed: {error}"))),
        }
    }
}

fn unreadable(errors: &ParseErrors) -> String {
    let first = errors.errors.first();
    let message = first.map_or_else(String::new, |error| format!("at column {}: {}", error.pos.1, error.msg));
    format!("the condition cannot be parsed {}", message.trim())
}

#[cfg(test)]
mod tests;
