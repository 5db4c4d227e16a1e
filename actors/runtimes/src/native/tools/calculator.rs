//! `native:calculator`: arithmetic for models, which are bad at it. Exact for sums and products of
//! what a double holds; no names, no functions, no side effects.

use std::iter::Peekable;
use std::str::Chars;

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::Tool;
use greenroom_protocol::{Cause, ErrorCode, Json, Values};
use serde_json::json;

/// Bytes of an expression.
const EXPRESSION_BYTES_MAX: usize = 1024;
/// Brackets inside brackets.
const DEPTH_MAX: usize = 32;

/// The tool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calculator;

#[async_trait]
impl Tool for Calculator {
    fn name(&self) -> &str {
        "calculator"
    }

    fn description(&self) -> &str {
        "Evaluates arithmetic: numbers, + - * / % ^ and brackets."
    }

    fn parameters(&self) -> Json {
        json!({
            "type": "object",
            "properties": { "expression": { "type": "string", "description": "Such as (372972.75 - 555596.95) / 555596.95 * 100" } },
            "required": ["expression"],
            "additionalProperties": false
        })
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }

    async fn call(&self, arguments: &Values, _: &FileAccess) -> Result<Json, Cause> {
        let Some(expression) = arguments.get("expression").and_then(Json::as_str) else {
            return Err(Cause::new(ErrorCode::InvalidInput, "`expression` is a text"));
        };
        let result = evaluate(expression).map_err(|message| Cause::new(ErrorCode::InvalidInput, message))?;
        Ok(json!({ "result": result }))
    }
}

/// Evaluates an expression.
fn evaluate(text: &str) -> Result<f64, String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes"));
    }
    let mut parser = Parser { rest: text.chars().peekable(), depth: 0 };
    let value = parser.sum()?;
    match parser.next_mark() {
        None if value.is_finite() => Ok(value),
        None => Err("the result is not a finite number".to_owned()),
        Some(mark) => Err(format!("{mark:?} is not expected here")),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn next_mark(&mut self) -> Option<char> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn take(&mut self, marks: &[char]) -> Option<char> {
        let mark = self.next_mark()?;
        marks.contains(&mark).then(|| self.rest.next()).flatten()
    }

    fn sum(&mut self) -> Result<f64, String> {
        let mut value = self.product()?;
        while let Some(mark) = self.take(&['+', '-', '−']) {
            let other = self.product()?;
            value = if mark == '+' { value + other } else { value - other };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut value = self.signed()?;
        while let Some(mark) = self.take(&['*', '×', '/', '÷', '%']) {
            let other = self.signed()?;
            if other == 0.0 && !matches!(mark, '*' | '×') {
                return Err("a division by zero has no result".to_owned());
            }
            value = match mark {
                '*' | '×' => value * other,
                '%' => value % other,
                _ => value / other,
            };
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<f64, String> {
        self.deeper()?;
        let value = match self.take(&['+', '-', '−']) {
            Some('+') => self.signed(),
            Some(_) => self.signed().map(|value| -value),
            None => self.power(),
        };
        self.depth -= 1;
        value
    }

    fn power(&mut self) -> Result<f64, String> {
        let base = self.atom()?;
        match self.take(&['^']) {
            Some(_) => Ok(base.powf(self.signed()?)),
            None => Ok(base),
        }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("an expression nests at most {DEPTH_MAX} deep")) } else { Ok(()) }
    }

    fn atom(&mut self) -> Result<f64, String> {
        if self.take(&['(']).is_some() {
            let value = self.sum()?;
            return match self.take(&[')']) {
                Some(_) => Ok(value),
                None => Err("a bracket is not closed".to_owned()),
            };
        }
        let mut digits = String::new();
        self.next_mark();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | ',')) {
            if c.is_ascii_digit() || c == '.' {
                digits.push(c);
            }
        }
        match self.rest.peek() {
            _ if !digits.is_empty() => digits.parse().map_err(|_| format!("{digits:?} is not a number")),
            Some(mark) => Err(format!("{mark:?} is not expected here")),
            None => Err("the expression ends too early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[test]
    fn arithmetic_follows_its_rules() {
        for (text, wanted) in [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("-2 ^ 2", -4.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("1,000 / 4", 250.0),
            ("10 % 4 - -1", 3.0),
        ] {
            assert_eq!(evaluate(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_arithmetic_is_refused() {
        for text in ["", "1 +", "1 / 0", "(1", "1)", "a", "1.2.3", "9^9^9^9"] {
            assert!(evaluate(text).is_err(), "{text}");
        }
        assert!(evaluate(&"(".repeat(900)).is_err());
        assert!(evaluate(&"-".repeat(900)).is_err());
        assert!(evaluate(&"1+".repeat(900)).is_err());
    }
}
