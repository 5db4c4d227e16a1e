//! The numbers of a condition.
//!
//! JSON has one kind of number, CEL has three that do not mix. Here a number has one meaning, however it is written:
//! 90 and 90.0 are the same, a whole result is whole, `3 / 4` is 0.75, and every operator takes any two numbers.
//! Whole numbers are exact up to 64 bits; a result beyond them, and every other number, is a double.

use std::sync::{Arc, LazyLock};

use cel::common::ast::{LiteralValue, operators};
use cel::common::functions::Function;
use cel::common::types::{CelDouble, CelInt, CelUInt, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError, Value};

/// Beyond this magnitude a double does not distinguish neighbouring whole numbers.
const WHOLE_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The operators of arithmetic, and the functions that replace them. No condition can write the name of such a
/// function, because `@` is no letter of CEL.
const REPLACED: &[(&str, &str)] = &[
    (operators::ADD, "@add"),
    (operators::SUBSTRACT, "@sub"),
    (operators::MULTIPLY, "@mul"),
    (operators::DIVIDE, "@div"),
    (operators::MODULO, "@mod"),
    (operators::NEGATE, "@neg"),
];

/// The standard environment of CEL with our arithmetic.
static ENVIRONMENT: LazyLock<Result<Arc<Env>, String>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let binary: [(&str, Function); 5] =
        [("@add", add), ("@sub", subtract), ("@mul", multiply), ("@div", divide), ("@mod", modulo)];
    for (name, function) in binary {
        env.add_overload(name, name, vec![DYN_TYPE, DYN_TYPE], function).map_err(|error| error.to_string())?;
    }
    env.add_overload("@neg", "@neg", vec![DYN_TYPE], negate).map_err(|error| error.to_string())?;
    Ok(Arc::new(env))
});

/// The environment in which conditions are parsed and evaluated; all of them share it.
///
/// # Errors
/// If the standard library declares one of our functions, which a new release of it could do.
pub(super) fn environment() -> Result<Arc<Env>, String> {
    ENVIRONMENT.clone()
}

/// The function that replaces an operator; `None` if it is no operator of arithmetic.
pub(super) fn replacement(operator: &str) -> Option<&'static str> {
    REPLACED.iter().find(|(replaced, _)| *replaced == operator).map(|(_, function)| *function)
}

/// The value of a JSON number.
pub(super) fn from_json(number: &serde_json::Number) -> Value {
    match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => Value::Int(whole),
        (None, Some(large)) => Value::UInt(large),
        (None, None) => {
            let double = number.as_f64().unwrap_or_default();
            whole(double).and_then(|whole| i64::try_from(whole).ok()).map_or(Value::Float(double), Value::Int)
        }
    }
}

/// A literal without its notation: `100.0` is `100`.
pub(super) fn normalize(literal: &LiteralValue) -> Option<LiteralValue> {
    let LiteralValue::Double(double) = literal else { return None };
    let whole = i64::try_from(whole(*double.inner())?).ok()?;
    Some(LiteralValue::Int(CelInt::from(whole)))
}

/// The whole number that a double is, if it is one.
#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "the number is whole and within the range")]
fn whole(double: f64) -> Option<i128> {
    (double.abs() <= WHOLE_DOUBLE_MAX && double.trunc() == double).then_some(double as i128)
}

/// A number of a condition.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    fn from_value(value: &dyn Val) -> Option<Self> {
        if let Some(int) = value.downcast_ref::<CelInt>() {
            return Some(Self::Whole(i128::from(*int.inner())));
        }
        if let Some(uint) = value.downcast_ref::<CelUInt>() {
            return Some(Self::Whole(i128::from(*uint.inner())));
        }
        let double = *value.downcast_ref::<CelDouble>()?.inner();
        Some(whole(double).map_or(Self::Double(double), Self::Whole))
    }

    #[expect(clippy::cast_precision_loss, reason = "a whole number beyond 53 bits is rounded, as documented")]
    const fn as_double(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Double(double) => double,
        }
    }

    fn is_zero(self) -> bool {
        self.as_double() == 0.0
    }

    fn into_value<'b, 'v>(self) -> CowVal<'b, 'v> {
        let number = match self {
            Self::Double(double) => whole(double).map_or(self, Self::Whole),
            Self::Whole(_) => self,
        };
        match number {
            Self::Whole(whole) => match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(int), _) => CowVal::owned(CelInt::from(int)),
                (Err(_), Ok(uint)) => CowVal::owned(CelUInt::from(uint)),
                (Err(_), Err(_)) => CowVal::owned(CelDouble::from(number.as_double())),
            },
            Self::Double(double) => CowVal::owned(CelDouble::from(double)),
        }
    }
}

type Evaluated<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// The error of an operator for operands that it does not take. It names their types, never their values.
fn no_overload(operator: &str, operands: &[CowVal<'_, '_>]) -> ExecutionError {
    let types = operands.iter().map(|operand| operand.get_type().name().to_owned());
    ExecutionError::no_such_overload(operator, types.collect())
}

/// Applies an operator to two numbers: exactly if both are whole and `exact` has a result, else as doubles.
fn combine<'b, 'v>(
    operator: &str,
    operands: &[CowVal<'b, 'v>],
    exact: impl Fn(i128, i128) -> Option<i128>,
    approximate: impl Fn(f64, f64) -> f64,
) -> Evaluated<'b, 'v> {
    let [left, right] = operands else { return Err(no_overload(operator, operands)) };
    let numbers = Number::from_value(left.as_ref()).zip(Number::from_value(right.as_ref()));
    let (left, right) = numbers.ok_or_else(|| no_overload(operator, operands))?;
    let sum = match (left, right) {
        (Number::Whole(left), Number::Whole(right)) => exact(left, right).map(Number::Whole),
        (Number::Whole(_) | Number::Double(_), _) => None,
    };
    Ok(sum.unwrap_or_else(|| Number::Double(approximate(left.as_double(), right.as_double()))).into_value())
}

/// Adds numbers, and joins texts and lists.
fn add<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    if let [left, right] = operands.as_slice()
        && Number::from_value(left.as_ref()).is_none()
        && Number::from_value(right.as_ref()).is_none()
    {
        let adder = left.as_adder().ok_or_else(|| no_overload(operators::ADD, &operands))?;
        let joined = adder.add(right.as_ref()).map_err(|_| no_overload(operators::ADD, &operands))?;
        return Ok(CowVal::Owned(joined.into_owned()));
    }
    combine(operators::ADD, &operands, i128::checked_add, |left, right| left + right)
}

fn subtract<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    combine(operators::SUBSTRACT, &operands, i128::checked_sub, |left, right| left - right)
}

fn multiply<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    combine(operators::MULTIPLY, &operands, i128::checked_mul, |left, right| left * right)
}

fn divide<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    reject_zero(&operands, ExecutionError::DivisionByZero)?;
    let exact = |left: i128, right: i128| (left % right == 0).then(|| left / right);
    combine(operators::DIVIDE, &operands, exact, |left, right| left / right)
}

fn modulo<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    reject_zero(&operands, ExecutionError::RemainderByZero)?;
    combine(operators::MODULO, &operands, i128::checked_rem, |left, right| left % right)
}

fn negate<'b, 'v>(operands: Vec<CowVal<'b, 'v>>) -> Evaluated<'b, 'v> {
    let operand = operands.first().and_then(|operand| Number::from_value(operand.as_ref()));
    match operand.ok_or_else(|| no_overload(operators::NEGATE, &operands))? {
        Number::Whole(whole) => Ok(Number::Whole(-whole).into_value()),
        Number::Double(double) => Ok(Number::Double(-double).into_value()),
    }
}

fn reject_zero(operands: &[CowVal<'_, '_>], error: impl Fn(Value) -> ExecutionError) -> Result<(), ExecutionError> {
    let [left, right] = operands else { return Ok(()) };
    let divides_by_zero = Number::from_value(right.as_ref()).is_some_and(Number::is_zero);
    if divides_by_zero && Number::from_value(left.as_ref()).is_some() {
        return Err(error(Value::try_from(left.as_ref()).unwrap_or(Value::Null)));
    }
    Ok(())
}
