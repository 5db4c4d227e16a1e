//! The bounds of a CEL condition.
//!
//! The result of a condition is a boolean, so it needs no macro that builds a list: `map`, the only
//! operation that amplifies its input, is rejected. Comprehensions may not be nested.

use super::{
    ADDITIONS_MAX, CONDITION_BYTES_MAX, NESTING_MAX, OPERATORS_MAX, skip_quoted, too_deep, too_long, too_many_operators,
};

/// Macros that iterate over a list.
const COMPREHENSIONS: &[&str] = &["all", "exists", "exists_one", "filter"];

/// The result of a scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// True if the condition iterates over a list.
    pub comprehends: bool,
}

#[derive(Default)]
struct Scan {
    /// The open brackets; true for those of a comprehension.
    open: Vec<bool>,
    alternatives: usize,
    operators: usize,
    additions: usize,
    matches: bool,
    comprehends: bool,
}

/// Checks the text of a condition.
///
/// # Errors
/// A message without its subject (`the condition`) that names the exceeded bound.
pub fn check(text: &str) -> Result<Shape, String> {
    if text.len() > CONDITION_BYTES_MAX {
        return Err(too_long(text.len(), CONDITION_BYTES_MAX));
    }
    let bytes = text.as_bytes();
    let mut scan = Scan::default();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        at = match byte {
            b'"' | b'\'' => quoted(bytes, at, byte).ok_or("has a quoted text without a closing quote")?,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                bytes.iter().skip(at).position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => scan.word(text, at)?,
            _ => {
                scan.sign(byte)?;
                at + 1
            }
        };
    }
    if scan.matches && scan.comprehends {
        return Err("uses `matches` for each item of a list".into());
    }
    Ok(Shape { comprehends: scan.comprehends })
}

/// Skips a text in one or three quotes. A raw one (`r"…"`) has no escapes.
fn quoted(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let raw = at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(|byte| matches!(byte, b'r' | b'R'));
    let triple = [quote; 3];
    if bytes.get(at..at + 3) == Some(&triple[..]) {
        let rest = bytes.get(at + 3..)?;
        return rest.windows(3).position(|window| window == triple).map(|length| at + length + 6);
    }
    skip_quoted(bytes, at + 1, quote, !raw)
}

impl Scan {
    fn word(&mut self, text: &str, at: usize) -> Result<usize, String> {
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (word, rest_of_text) = rest.split_at_checked(length).unwrap_or((rest, ""));
        let called = rest_of_text.trim_start().starts_with('(');
        let member = text.get(..at).unwrap_or_default().trim_end().ends_with('.');
        let mut end = at + length;
        if called && member && word == "map" {
            return Err("uses `map`; a condition may use all, exists, exists_one and filter".into());
        }
        if called && member && COMPREHENSIONS.contains(&word) {
            if self.open.contains(&true) {
                return Err("has a comprehension inside another one".into());
            }
            self.comprehends = true;
            self.open_group(true)?;
            end += rest_of_text.len() - rest_of_text.trim_start().len() + 1;
        } else if called && word == "matches" {
            self.matches = true;
        } else if word == "in" {
            self.count()?;
        }
        Ok(end)
    }

    fn sign(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'(' | b'[' | b'{' => self.open_group(false),
            b')' | b']' | b'}' => {
                self.open.pop();
                Ok(())
            }
            b'?' => {
                self.alternatives += 1;
                if self.alternatives > NESTING_MAX {
                    return Err(format!("has more than {NESTING_MAX} alternatives"));
                }
                self.count()
            }
            b'+' => {
                self.additions += 1;
                if self.additions > ADDITIONS_MAX {
                    return Err(format!("has more than {ADDITIONS_MAX} additions"));
                }
                self.count()
            }
            b'-' | b'*' | b'/' | b'%' | b'!' | b'=' | b'<' | b'>' | b'&' | b'|' | b'.' => self.count(),
            _ => Ok(()),
        }
    }

    fn open_group(&mut self, comprehension: bool) -> Result<(), String> {
        self.open.push(comprehension);
        if self.open.len() > NESTING_MAX {
            return Err(too_deep());
        }
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX { Err(too_many_operators()) } else { Ok(()) }
    }
}
