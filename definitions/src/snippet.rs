//! Snippets: texts that the system prompts of several agents share, and the tags that include them.
//!
//! An include is replaced by the text of its snippet before the template is parsed, so that the bounds of a template
//! hold for the whole of it. The number of replacements and their depth are bounded, because a snippet of nothing but
//! includes would otherwise multiply without any text.

use std::collections::BTreeMap;

use crate::bounds::{TEMPLATE_BYTES_MAX, TagKind, TemplateError, tags};

/// Bytes of the file of a snippet.
pub const SNIPPET_BYTES_MAX: usize = 4 * 1_024;
/// Maximum nesting of snippets.
pub const INCLUDE_DEPTH_MAX: usize = 4;
/// Maximum number of includes of one prompt, those in snippets among them.
pub const INCLUDES_MAX: usize = 50;

/// The tag `{% include "NAME" %}` of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include<'t> {
    /// The name of the snippet.
    pub name: &'t str,
    /// The line on which the tag begins, from 1.
    pub line: usize,
    start: usize,
    end: usize,
}

/// Finds the includes of a template, in their order.
///
/// # Errors
/// An include of another form, or a tag that is not closed.
pub fn includes(text: &str) -> Result<Vec<Include<'_>>, TemplateError> {
    let mut found = Vec::new();
    for tag in tags(text)? {
        if tag.kind != TagKind::Statement {
            continue;
        }
        let inside = tag.inside.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        let Some(rest) = inside.strip_prefix("include").filter(|rest| !rest.starts_with(is_name_char)) else {
            continue;
        };
        let Some(name) = quoted_name(rest.trim()) else {
            let message = "has an include that is not of the form `{% include \"NAME\" %}`".to_owned();
            return Err(TemplateError::invalid(message, tag.line));
        };
        found.push(Include { name, line: tag.line, start: tag.start, end: tag.end });
    }
    Ok(found)
}

/// True if the text can be the name of a snippet: lower-case letters, digits and `_`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn quoted_name(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    text.strip_prefix(quote)?.strip_suffix(quote).filter(|name| is_name(name))
}

/// Removes the includes of a template: what remains is the text of its author, on the same lines.
///
/// # Errors
/// As [`includes`].
pub fn without_includes(text: &str) -> Result<String, TemplateError> {
    let mut own = String::with_capacity(text.len());
    let mut at = 0;
    for include in includes(text)? {
        own.push_str(text.get(at..include.start).unwrap_or_default());
        let lines = text.get(include.start..include.end).unwrap_or_default().matches('\n').count();
        own.extend(std::iter::repeat_n('\n', lines));
        at = include.end;
    }
    own.push_str(text.get(at..).unwrap_or_default());
    Ok(own)
}

/// Replaces each include by the text of its snippet, and those in the snippets.
///
/// # Errors
/// A snippet that does not exist, or a bound that is exceeded, as by a snippet that includes itself.
pub fn expand(text: &str, snippets: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let mut expansion = Expansion { snippets, text: String::with_capacity(text.len()), includes: 0 };
    expansion.append(text, 0)?;
    Ok(expansion.text)
}

struct Expansion<'s> {
    snippets: &'s BTreeMap<String, String>,
    text: String,
    includes: usize,
}

impl Expansion<'_> {
    fn append(&mut self, text: &str, depth: usize) -> Result<(), TemplateError> {
        let snippets = self.snippets;
        let mut at = 0;
        for include in includes(text)? {
            self.text.push_str(text.get(at..include.start).unwrap_or_default());
            at = include.end;
            self.includes += 1;
            let Some(snippet) = snippets.get(include.name) else {
                let message = format!("includes the snippet `{}`, which does not exist", include.name);
                return Err(TemplateError::invalid(message, include.line));
            };
            let exceeded = |message: String| TemplateError { message, line: include.line, out_of_bounds: true };
            if depth >= INCLUDE_DEPTH_MAX {
                let message = format!("includes `{}` more than {INCLUDE_DEPTH_MAX} levels deep", include.name);
                return Err(exceeded(message));
            }
            if self.includes > INCLUDES_MAX {
                return Err(exceeded(format!("has more than {INCLUDES_MAX} includes, those in snippets among them")));
            }
            // The last line end belongs to the file, and the line of the tag has one of its own.
            self.append(snippet.trim_end(), depth + 1)?;
            if self.text.len() > TEMPLATE_BYTES_MAX {
                return Err(exceeded(format!("has more than {TEMPLATE_BYTES_MAX} bytes with its snippets")));
            }
        }
        self.text.push_str(text.get(at..).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
