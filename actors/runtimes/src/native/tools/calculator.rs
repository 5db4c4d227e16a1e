//! `native:calculator`: arithmetic for models, which are unreliable at it. Sums and products that fit a
//! double are exact; there are no names, no functions and no side effects.

use std::iter::Peekable;
use std::str::Chars;

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput, require_text};
use greenroom_protocol::{Cause, ErrorCode, Json};
use serde_json::json;

/// Maximum size of an expression.
const EXPRESSION_BYTES_MAX: usize = 1024;
/// Maximum nesting of brackets.
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

    async fn call(&self, input: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        let expression = require_text(&input.arguments, "expression")?;
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
    let value = parser.parse_sum()?;
    match parser.peek_operator() {
        None if value.is_finite() => Ok(value),
        None => Err("the result is not a finite number".to_owned()),
        Some(operator) => Err(format!("{operator:?} is not expected here")),
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn peek_operator(&mut self) -> Option<char> {
        while self.rest.next_if(|c| c.is_whitespace()).is_some() {}
        self.rest.peek().copied()
    }

    fn take(&mut self, operators: &[char]) -> Option<char> {
        let operator = self.peek_operator()?;
        operators.contains(&operator).then(|| self.rest.next()).flatten()
    }

    fn parse_sum(&mut self) -> Result<f64, String> {
        let mut value = self.parse_product()?;
        while let Some(operator) = self.take(&['+', '-', '−']) {
            let other = self.parse_product()?;
            value = if operator == '+' { value + other } else { value - other };
        }
        Ok(value)
    }

    fn parse_product(&mut self) -> Result<f64, String> {
        let mut value = self.parse_signed()?;
        while let Some(operator) = self.take(&['*', '×', '/', '÷', '%']) {
            let other = self.parse_signed()?;
            if other == 0.0 && !matches!(operator, '*' | '×') {
                return Err("a division by zero has no result".to_owned());
            }
            value = match operator {
                '*' | '×' => value * other,
                '%' => value % other,
                _ => value / other,
            };
        }
        Ok(value)
    }

    fn parse_signed(&mut self) -> Result<f64, String> {
        self.enter()?;
        let value = match self.take(&['+', '-', '−']) {
            Some('+') => self.parse_signed(),
            Some(_) => self.parse_signed().map(|value| -value),
            None => self.parse_power(),
        };
        self.depth -= 1;
        value
    }

    fn parse_power(&mut self) -> Result<f64, String> {
        let base = self.parse_atom()?;
        match self.take(&['^']) {
            Some(_) => Ok(base.powf(self.parse_signed()?)),
            None => Ok(base),
        }
    }

    fn enter(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(format!("an expression nests at most {DEPTH_MAX} deep")) } else { Ok(()) }
    }

    fn parse_atom(&mut self) -> Result<f64, String> {
        if self.take(&['(']).is_some() {
            let value = self.parse_sum()?;
            return match self.take(&[')']) {
                Some(_) => Ok(value),
                None => Err("a bracket is not closed".to_owned()),
            };
        }
        let mut digits = String::new();
        self.peek_operator();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | ',')) {
            if c.is_ascii_digit() || c == '.' {
                digits.push(c);
            }
        }
        match self.rest.peek() {
            _ if !digits.is_empty() => digits.parse().map_err(|_| format!("{digits:?} is not a number")),
            Some(operator) => Err(format!("{operator:?} is not expected here")),
            None => Err("the expression ends too early".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[test]
    fn operators_have_their_usual_precedence() {
        for (text, expected) in [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("-2 ^ 2", -4.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("1,000 / 4", 250.0),
            ("10 % 4 - -1", 3.0),
        ] {
            assert_eq!(evaluate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_invalid_expression_is_rejected() {
        for text in ["", "1 +", "1 / 0", "(1", "1)", "a", "1.2.3", "9^9^9^9"] {
            assert!(evaluate(text).is_err(), "{text}");
        }
        assert!(evaluate(&"(".repeat(900)).is_err());
        assert!(evaluate(&"-".repeat(900)).is_err());
        assert!(evaluate(&"1+".repeat(900)).is_err());
    }
}
