//! The functions that a condition may call, and a bound of its cost.
//!
//! Both are checked on the expression as it is written, before its macros are expanded: a macro is then a call like
//! any other. What is not in the list is rejected, also a function of a later release of the parser.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, ListExpr, operators};

use crate::bounds::{CONDITION_COST_MAX, CONDITION_ITEMS_MAX};
use crate::problem::did_you_mean;

/// Functions with one result for their arguments.
const FUNCTIONS: &[&str] =
    &["contains", "double", "endsWith", "has", "int", "matches", "size", "startsWith", "string", "uint"];
/// Macros that iterate over a list or a map. The result of a condition is a boolean, so it needs no `map`, the only
/// macro that amplifies its input.
const COMPREHENSIONS: &[&str] = &["all", "exists", "exists_one", "filter"];
/// Operators.
const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::LESS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::GREATER_EQUALS,
    operators::INDEX,
    operators::IN,
];
/// Operators and functions whose work depends on the size of their values.
const SCANS: &[&str] = &[
    operators::IN,
    operators::ADD,
    operators::EQUALS,
    operators::NOT_EQUALS,
    "contains",
    "endsWith",
    "matches",
    "startsWith",
];
/// The cost of one of [`SCANS`] over a value of unknown size, and of the number of iterations.
const VALUE_COST: u64 = CONDITION_ITEMS_MAX as u64;

/// What the check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// True if the condition iterates over a list or a map.
    pub(super) comprehends: bool,
    /// A bound of the operations of one evaluation.
    pub(super) cost: u64,
}

/// Checks the calls and the cost of an expression whose macros are not expanded.
///
/// # Errors
/// A message without its subject (`the condition`).
pub(super) fn check(expression: &IdedExpr) -> Result<Shape, String> {
    let mut traversal = Traversal { comprehends: false, in_items: false };
    let cost = traversal.cost(expression)?;
    if cost > CONDITION_COST_MAX {
        return Err(format!(
            "may take {cost} operations, {CONDITION_COST_MAX} are allowed: it compares or searches values too often \
             for each item of a list"
        ));
    }
    Ok(Shape { comprehends: traversal.comprehends, cost })
}

struct Traversal {
    comprehends: bool,
    /// True inside of a comprehension.
    in_items: bool,
}

impl Traversal {
    fn cost(&mut self, ided: &IdedExpr) -> Result<u64, String> {
        let inner = match &ided.expr {
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => 0,
            Expr::Select(select) => self.cost(&select.operand)?,
            Expr::Call(call) => return self.call(call),
            Expr::List(list) => self.sum(&list.elements)?,
            Expr::Map(map) => {
                let mut cost = 0_u64;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        cost = cost.saturating_add(self.cost(&entry.key)?).saturating_add(self.cost(&entry.value)?);
                    }
                }
                cost
            }
            Expr::Struct(_) => return Err("constructs a structure".into()),
            // No macro is expanded.
            Expr::Comprehension(_) => return Err("has a comprehension in an unknown form".into()),
        };
        Ok(inner.saturating_add(1))
    }

    fn sum(&mut self, all: &[IdedExpr]) -> Result<u64, String> {
        all.iter().try_fold(0_u64, |sum, one| Ok(sum.saturating_add(self.cost(one)?)))
    }

    fn call(&mut self, call: &CallExpr) -> Result<u64, String> {
        let name = call.func_name.as_str();
        let target = call.target.as_deref().map_or(Ok(0), |target| self.cost(target))?;
        if COMPREHENSIONS.contains(&name) {
            let body = self.comprehension(call)?;
            return Ok(target.saturating_add(VALUE_COST.saturating_mul(body)));
        }
        if !FUNCTIONS.contains(&name) && !OPERATORS.contains(&name) {
            return Err(not_allowed(name));
        }
        if name == "matches" && self.in_items {
            return Err("uses `matches` for each item of a list".into());
        }
        let arguments = self.sum(&call.args)?;
        let own = if SCANS.contains(&name) { scan_cost(name, call) } else { 1 };
        Ok(target.saturating_add(arguments).saturating_add(own))
    }

    /// The cost of the body of a comprehension.
    fn comprehension(&mut self, call: &CallExpr) -> Result<u64, String> {
        if self.in_items {
            return Err("has a comprehension inside another one".into());
        }
        self.comprehends = true;
        self.in_items = true;
        let body = self.sum(&call.args);
        self.in_items = false;
        body
    }
}

/// The cost of an operator that compares or searches values.
fn scan_cost(name: &str, call: &CallExpr) -> u64 {
    let is_scalar = |ided: &IdedExpr| matches!(ided.expr, Expr::Literal(_));
    match (name, call.args.as_slice()) {
        (operators::EQUALS | operators::NOT_EQUALS | operators::ADD, [left, right])
            if is_scalar(left) || is_scalar(right) =>
        {
            1
        }
        (operators::IN, [_, IdedExpr { expr: Expr::List(ListExpr { elements, .. }), .. }]) => elements.len() as u64,
        _ => VALUE_COST,
    }
}

fn not_allowed(name: &str) -> String {
    let known = || FUNCTIONS.iter().chain(COMPREHENSIONS).copied();
    let written = match name {
        operators::OPT_SELECT | operators::OPT_INDEX => "?",
        other => other,
    };
    let hint = did_you_mean(written, known()).unwrap_or_default();
    let mut names: Vec<&str> = known().collect();
    names.sort_unstable();
    format!("uses `{written}`{hint}; a condition may call {}", names.join(", "))
}
