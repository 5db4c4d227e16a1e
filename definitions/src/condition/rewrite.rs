//! Rewrites a parsed condition before it is evaluated: arithmetic becomes that of [`super::arithmetic`],
//! `steps["a-b"]` a member of `steps`, and `has(steps.a.outputs)` a test of whether the step was executed.

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, SelectExpr, operators};

use super::arithmetic::{normalize, replacement};

/// The variable whose members are the steps that were executed.
pub(super) const EXECUTED_STEPS: &str = "@executed";
/// The variable whose members are the steps.
const STEPS: &str = "steps";
/// The member of a step that has its outputs.
const OUTPUTS: &str = "outputs";

/// Rewrites an expression whose macros are expanded. The depth of its syntax tree was bounded before it was parsed.
pub(super) fn rewrite(ided: &mut IdedExpr) {
    match &mut ided.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Struct(_) => {}
        Expr::Literal(literal) => {
            if let Some(whole) = normalize(literal) {
                *literal = whole;
            }
        }
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| rewrite(target));
            call.args.iter_mut().for_each(rewrite);
            // The macros count and collect with the operators of CEL.
            let is_of_macro = call.args.first().is_some_and(|first| is_accumulator(&first.expr));
            if let Some(function) = replacement(&call.func_name).filter(|_| !is_of_macro) {
                function.clone_into(&mut call.func_name);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(loops) => {
            let parts = [
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_cond,
                &mut loops.loop_step,
                &mut loops.result,
            ];
            parts.into_iter().for_each(rewrite);
        }
    }
    if let Some(select) = step_by_index(&mut ided.expr) {
        ided.expr = select;
    }
    if let Expr::Select(select) = &mut ided.expr {
        test_execution(select);
    }
}

fn is_accumulator(expr: &Expr) -> bool {
    matches!(expr, Expr::Ident(name) if name.starts_with('@'))
}

/// `steps["a-b"]` as `steps.a-b`, which only a syntax tree can express.
fn step_by_index(expr: &mut Expr) -> Option<Expr> {
    let Expr::Call(call) = expr else { return None };
    let is_index = call.func_name == operators::INDEX && call.target.is_none();
    let ([of, index], true) = (call.args.as_mut_slice(), is_index) else { return None };
    let (Expr::Ident(root), Expr::Literal(LiteralValue::String(step))) = (&of.expr, &index.expr) else { return None };
    if root != STEPS {
        return None;
    }
    let field = step.inner().to_owned();
    Some(Expr::Select(SelectExpr { operand: Box::new(std::mem::take(of)), field, test: false }))
}

/// `has(steps.a.outputs)`: a step has outputs if it was executed.
fn test_execution(select: &mut SelectExpr) {
    let Expr::Select(step) = &mut select.operand.expr else { return };
    let is_step = matches!(&step.operand.expr, Expr::Ident(root) if root == STEPS);
    if select.test && select.field == OUTPUTS && is_step && !step.test {
        select.field = std::mem::take(&mut step.field);
        select.operand.expr = Expr::Ident(EXECUTED_STEPS.to_owned());
    }
}
