//! What an expression or a template may cost, checked on its text before any parser sees it.
//!
//! Parsers and evaluators recurse, and some operations make much out of little; a bound that is
//! checked afterwards is checked too late. So the text is scanned here without recursion.

mod cel;
mod template;

pub use cel::check as check_condition;
pub use template::{TagKind, check as check_template, tags};

/// Bytes of a CEL condition.
pub const CONDITION_BYTES_MAX: usize = 1_024;
/// Bytes of a prompt template, or of a text with `${…}` references.
pub const TEMPLATE_BYTES_MAX: usize = 16 * 1_024;
/// How deep brackets, blocks and alternatives may nest.
pub const NESTING_MAX: usize = 16;
/// Operators of one expression; member access, calls and filters count.
pub const OPERATORS_MAX: usize = 200;
/// Additions of one condition: each one may copy a text.
pub const ADDITIONS_MAX: usize = 8;
/// Items of a list that a condition looks at one by one.
pub const CONDITION_ITEMS_MAX: usize = 1_000;
/// Bytes of all the values that a condition looks at.
pub const CONDITION_INPUT_BYTES_MAX: u64 = 256 * 1_024;
/// Instructions that one template may execute.
pub const TEMPLATE_FUEL: u64 = 200_000;
/// Bytes that one template, or one filter in it, may write.
pub const PROMPT_BYTES_MAX: usize = 1_024 * 1_024;

/// Skips a quoted text; `at` is behind the opening quote. `None` if it does not end.
fn skip_quoted(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> Option<usize> {
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && escapes {
            at += 2;
        } else if *byte == quote {
            return Some(at + 1);
        } else {
            at += 1;
        }
    }
    None
}

fn too_deep() -> String {
    format!("is nested deeper than {NESTING_MAX}")
}

fn too_many_operators() -> String {
    format!("has more than {OPERATORS_MAX} operators")
}

fn too_long(bytes: usize, max: usize) -> String {
    format!("has {bytes} bytes, {max} are allowed")
}

#[cfg(test)]
mod tests;
