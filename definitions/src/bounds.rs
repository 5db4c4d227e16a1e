//! The bounds of expressions and templates, checked on the text before it is parsed.
//!
//! Parsers and evaluators recurse, and some operations amplify their input, so a check after parsing
//! would be too late. The text is scanned here without recursion.

mod cel;
mod template;

pub use cel::check as check_condition;
pub use template::{Tag, TagKind, TemplateError, check as check_template, tags};

/// Bytes of a CEL condition.
pub const CONDITION_BYTES_MAX: usize = 1_024;
/// Bytes of a prompt template, or of a text with `${…}` references.
pub const TEMPLATE_BYTES_MAX: usize = 16 * 1_024;
/// Maximum nesting of brackets, blocks and alternatives.
pub const NESTING_MAX: usize = 16;
/// Operators of one expression; member access, calls and filters count.
pub const OPERATORS_MAX: usize = 200;
/// Additions of one condition: each one may copy a text.
pub const ADDITIONS_MAX: usize = 8;
/// Items of a list over which a condition iterates.
pub const CONDITION_ITEMS_MAX: usize = 1_000;
/// Operations that one evaluation of a condition may take, by a bound computed when it is compiled.
pub const CONDITION_COST_MAX: u64 = 4_000_000;
/// Operations that the condition of a `for_each` step may take for all of its items.
pub const CONDITION_LOOP_COST_MAX: u64 = 400_000_000;
/// Bytes of all values that a condition references.
pub const CONDITION_INPUT_BYTES_MAX: u64 = 256 * 1_024;
/// Instructions that one template may execute.
pub const TEMPLATE_FUEL: u64 = 200_000;
/// Bytes that one template, or one filter in it, may write.
pub const PROMPT_BYTES_MAX: usize = 1_024 * 1_024;

/// Skips a quoted text; `at` is the position after the opening quote. `None` if it is not closed.
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
