//! Finds comments that were meant as text: ` #1` ends a text without quotes, and what follows it would be lost.

use std::collections::BTreeMap;

use saphyr_parser::Marker;

use super::{Position, YamlError, narrow};
use crate::problem::ProblemKind;

/// Characters of a comment that a message repeats.
const EXCERPT_CHARS_MAX: usize = 40;

/// The lines with a comment that begins with a digit. Comments of people begin with a space or a word.
#[derive(Debug, Default)]
pub(super) struct NumberedComments<'t>(BTreeMap<u32, &'t str>);

impl<'t> NumberedComments<'t> {
    /// Finds the lines that may have one.
    pub(super) fn find(text: &'t str) -> Self {
        let begins_with_digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        let has_one = |line: &str| line.split(" #").skip(1).any(begins_with_digit);
        Self((1_u32..).zip(text.lines()).filter(|(_, line)| has_one(line)).collect())
    }

    /// Checks a text without quotes that ends here.
    ///
    /// # Errors
    /// If nothing but spaces is between it and such a comment.
    pub(super) fn check(&self, end: &Marker) -> Result<(), YamlError> {
        let number = narrow(end.line());
        let Some(line) = self.0.get(&number) else { return Ok(()) };
        let rest: String = line.chars().skip(end.col()).collect();
        let comment = rest.trim_start_matches([' ', '\t']);
        let spaces = rest.len() - comment.len();
        let is_numbered = comment.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if spaces == 0 || !is_numbered {
            return Ok(());
        }
        let excerpt: String = comment.chars().take(EXCERPT_CHARS_MAX).collect();
        Err(YamlError {
            at: Position { line: number, column: narrow(end.col() + spaces + 1) },
            kind: ProblemKind::Syntax,
            found: format!("`{excerpt}` is a comment here and no part of the text before it"),
            expected: "put the text in quotes; write a space after the `#` of a comment".to_owned(),
        })
    }
}
