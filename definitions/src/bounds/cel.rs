//! The bounds of the text of a CEL condition, without which the parser could exhaust the stack.
//! `condition/allowed.rs` checks the functions and the cost of the parsed expression.

use super::{
    ADDITIONS_MAX, CONDITION_BYTES_MAX, NESTING_MAX, OPERATORS_MAX, skip_quoted, too_deep, too_long, too_many_operators,
};

#[derive(Default)]
struct Scan {
    /// The number of open brackets.
    open: usize,
    alternatives: usize,
    operators: usize,
    additions: usize,
}

/// Checks the text of a condition.
///
/// # Errors
/// A message without its subject (`the condition`) that names the exceeded bound.
pub fn check(text: &str) -> Result<(), String> {
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
    Ok(())
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
        if rest.get(..length) == Some("in") {
            self.count()?;
        }
        Ok(at + length)
    }

    fn sign(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'(' | b'[' | b'{' => self.open_group(),
            b')' | b']' | b'}' => {
                self.open = self.open.saturating_sub(1);
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

    fn open_group(&mut self) -> Result<(), String> {
        self.open += 1;
        if self.open > NESTING_MAX {
            return Err(too_deep());
        }
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX { Err(too_many_operators()) } else { Ok(()) }
    }
}
