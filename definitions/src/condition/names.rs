//! The variables of a condition. The depth of its syntax tree is bounded before it is parsed.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr};

use super::rewrite::EXECUTED_STEPS;
use crate::problem::did_you_mean;

/// The variables of a condition.
const VARIABLES: &[&str] = &["inputs", "context", "steps", "item", "index"];

/// A value that a condition references.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum VariableRef {
    /// One input.
    Input(String),
    /// All inputs, as in `"x" in inputs`.
    Inputs,
    /// One key of the context.
    Context(String),
    /// The whole context.
    AllContext,
    /// One output of a step.
    Output(String, String),
    /// All outputs of a step, as in `"x" in steps.a.outputs`.
    Outputs(String),
    /// Whether a step was executed, as in `has(steps.a.outputs)`.
    Executed(String),
    /// The item of a `for_each`.
    Item,
    /// The index of the item.
    Index,
}

/// Collects the values that an expression references.
///
/// # Errors
/// A message that names an unknown variable.
pub(super) fn variable_refs(expression: &IdedExpr) -> Result<BTreeSet<VariableRef>, String> {
    let mut collector = VariableCollector { found: BTreeSet::new(), local: Vec::new() };
    collector.expression(expression)?;
    Ok(collector.found)
}

struct VariableCollector {
    found: BTreeSet<VariableRef>,
    /// Variables of the enclosing comprehensions.
    local: Vec<String>,
}

impl VariableCollector {
    fn expression(&mut self, ided: &IdedExpr) -> Result<(), String> {
        match &ided.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.path(&[name]),
            Expr::Select(select) => match qualified(&ided.expr) {
                Some(path) => self.path(&path),
                None => self.expression(&select.operand),
            },
            Expr::Call(call) => {
                let all = call.target.as_deref().into_iter().chain(&call.args);
                all.into_iter().try_for_each(|part| self.expression(part))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.expression(part)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => made.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Comprehension(loops) => {
                self.expression(&loops.iter_range)?;
                if VARIABLES.contains(&loops.iter_var.as_str()) {
                    return Err(format!("the condition names an item `{}`, which hides that variable", loops.iter_var));
                }
                let outer = self.local.len();
                self.local.push(loops.iter_var.clone());
                self.local.extend(loops.iter_var2.clone());
                self.local.push(loops.accu_var.clone());
                for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.expression(part)?;
                }
                self.local.truncate(outer);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key)?;
                self.expression(&entry.value)
            }
        }
    }

    /// Records a variable and its members.
    fn path(&mut self, path: &[&str]) -> Result<(), String> {
        let (root, rest) = path.split_first().map_or(("", &[][..]), |(root, rest)| (*root, rest));
        if self.local.iter().any(|local| local == root) {
            return Ok(());
        }
        let reference = match (root, rest) {
            ("inputs", [field, ..]) => VariableRef::Input((*field).to_owned()),
            ("inputs", []) => VariableRef::Inputs,
            ("context", [field, ..]) => VariableRef::Context((*field).to_owned()),
            ("context", []) => VariableRef::AllContext,
            ("steps", [step, "outputs", name, ..]) => VariableRef::Output((*step).to_owned(), (*name).to_owned()),
            ("steps", [step, "outputs"]) => VariableRef::Outputs((*step).to_owned()),
            (EXECUTED_STEPS, [step, ..]) => VariableRef::Executed((*step).to_owned()),
            ("steps", _) => {
                return Err(
                    "the condition must name an output, as in `steps.STEP.outputs.NAME`; a step with a `-` in \
                            its id is `steps[\"STEP-ID\"]`"
                        .into(),
                );
            }
            ("item", _) => VariableRef::Item,
            ("index", _) => VariableRef::Index,
            (other, _) => {
                let hint = did_you_mean(other, VARIABLES.iter().copied()).unwrap_or_default();
                let known = VARIABLES.join(", ");
                return Err(format!("the condition references `{other}`{hint}; it may reference {known}"));
            }
        };
        self.found.insert(reference);
        Ok(())
    }
}

/// Splits `a.b.c` into its names; `None` for any other expression.
fn qualified(expr: &Expr) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut next = expr;
    loop {
        match next {
            Expr::Ident(name) => {
                parts.push(name.as_str());
                parts.reverse();
                return Some(parts);
            }
            Expr::Select(select) => {
                parts.push(select.field.as_str());
                next = &select.operand.expr;
            }
            Expr::Unspecified
            | Expr::Call(_)
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Struct(_) => return None,
        }
    }
}
