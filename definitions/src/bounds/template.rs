//! The bounds of a prompt template, and its tags.
//!
//! A prompt needs loops, conditions and filters. Operations that amplify text (`set`, `macro`, `~`,
//! `+`, `*`) or recurse (`recursive`) are rejected by name, since neither fuel nor a bounded writer
//! limits the memory that an expression allocates.

use super::{NESTING_MAX, OPERATORS_MAX, TEMPLATE_BYTES_MAX, skip_quoted, too_deep, too_long, too_many_operators};

/// Statements that a template may have.
const STATEMENTS: &[&str] = &["for", "endfor", "if", "elif", "else", "endif"];
/// Words that count as operators.
const WORDS: &[&str] = &["and", "or", "not", "in", "is"];

/// The kind of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// `{{ … }}`
    Value,
    /// `{% … %}`
    Statement,
}

/// A tag of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'t> {
    /// Its kind.
    pub kind: TagKind,
    /// The text between its braces.
    pub inside: &'t str,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The byte of the template at which its opening brace is.
    pub start: usize,
    /// The byte after its closing brace.
    pub end: usize,
}

/// Why a template is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The message, without its subject (`the template`).
    pub message: String,
    /// The line in the template, from 1; 0 for all of it.
    pub line: usize,
    /// True if the template exceeds a bound, false if it is invalid.
    pub out_of_bounds: bool,
}

impl TemplateError {
    /// The error of a template that is invalid, whatever its size.
    pub fn invalid(message: String, line: usize) -> Self {
        Self { message, line, out_of_bounds: false }
    }

    /// The error of a template that exceeds a bound.
    fn out_of_bounds(message: String, line: usize) -> Self {
        Self { message, line, out_of_bounds: true }
    }
}

/// Checks the text of a template.
///
/// # Errors
/// An error that names the exceeded bound, or the tag that is not allowed or not closed.
pub fn check(text: &str) -> Result<(), TemplateError> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(TemplateError::out_of_bounds(too_long(text.len(), TEMPLATE_BYTES_MAX), 0));
    }
    // The levels of each open block: each `elif` adds one.
    let mut blocks: Vec<usize> = Vec::new();
    for Tag { kind, inside, line, .. } in tags(text)? {
        expression(inside, line)?;
        if kind == TagKind::Value {
            continue;
        }
        let word = inside.split(|c: char| !(c.is_alphanumeric() || c == '_')).find(|part| !part.is_empty());
        let word = word.unwrap_or_default();
        if !STATEMENTS.contains(&word) {
            let message = format!("has a `{word}` statement; a prompt may use {}", STATEMENTS.join(", "));
            return Err(TemplateError::invalid(message, line));
        }
        match word {
            "for" | "if" => blocks.push(1),
            "elif" => {
                if let Some(levels) = blocks.last_mut() {
                    *levels += 1;
                }
            }
            "endfor" | "endif" => drop(blocks.pop()),
            _ => {}
        }
        if blocks.iter().sum::<usize>() > NESTING_MAX {
            return Err(TemplateError::out_of_bounds(too_deep(), line));
        }
    }
    Ok(())
}

/// The tags of a template, in order. Comments and raw blocks are skipped.
///
/// # Errors
/// An error about a tag that is not closed, with the line on which it begins.
pub fn tags(text: &str) -> Result<Vec<Tag<'_>>, TemplateError> {
    let mut tags = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(at) = rest.find('{') {
        let from = rest.get(at..).unwrap_or_default();
        line += line_ends(rest.get(..at).unwrap_or_default());
        let unclosed = |part: &str| TemplateError::invalid(format!("has {part} that is not closed"), line);
        let inside = from.get(2..).unwrap_or_default();
        let start = text.len() - from.len();
        let end = |after: &str| text.len() - after.len();
        let after = match from.as_bytes().get(1) {
            Some(b'#') => inside.split_once("#}").ok_or_else(|| unclosed("a comment"))?.1,
            Some(b'{') => {
                let (tag, after) = split_tag(inside, b"}}").ok_or_else(|| unclosed("a `{{`"))?;
                tags.push(Tag { kind: TagKind::Value, inside: tag, line, start, end: end(after) });
                after
            }
            Some(b'%') => {
                let (tag, after) = split_tag(inside, b"%}").ok_or_else(|| unclosed("a `{%`"))?;
                if tag.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+')) == "raw" {
                    after_raw(after).ok_or_else(|| unclosed("a raw block"))?
                } else {
                    tags.push(Tag { kind: TagKind::Statement, inside: tag, line, start, end: end(after) });
                    after
                }
            }
            Some(_) | None => from.get(1..).unwrap_or_default(),
        };
        line += line_ends(from.get(..from.len() - after.len()).unwrap_or_default());
        rest = after;
    }
    Ok(tags)
}

fn line_ends(text: &str) -> usize {
    text.matches('\n').count()
}

/// Splits after the closing braces; braces in quotes and nested braces do not close the tag.
fn split_tag<'a>(text: &'a str, close: &[u8; 2]) -> Option<(&'a str, &'a str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut braces = 0_usize;
    while let Some(byte) = bytes.get(at).copied() {
        match byte {
            b'"' | b'\'' => at = skip_quoted(bytes, at + 1, byte, true)?,
            _ if braces == 0 && bytes.get(at..at + 2) == Some(&close[..]) => {
                return Some((text.get(..at)?, text.get(at + 2..)?));
            }
            _ => {
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                at += 1;
            }
        }
    }
    None
}

fn after_raw(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let (_, rest_of_text) = rest.split_once("{%")?;
        let (tag, after) = rest_of_text.split_once("%}")?;
        if tag.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+')) == "endraw" {
            return Some(after);
        }
        rest = rest_of_text;
    }
}

/// Checks the inside of a tag that begins on `line`.
fn expression(text: &str, line: usize) -> Result<(), TemplateError> {
    // A sign at either end only trims the space around the tag.
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let text = text.strip_suffix(['-', '+']).unwrap_or(text);
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut operators) = (0, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at).copied() {
        let start = at;
        at += 1;
        match byte {
            b'"' | b'\'' => at = skip_quoted(bytes, at, byte, true).unwrap_or(bytes.len()),
            b'(' | b'[' | b'{' => {
                depth += 1;
                operators += 1;
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'*' | b'+' | b'~' => {
                let message = format!("uses `{}`; a prompt puts texts side by side", char::from(byte));
                return Err(TemplateError::invalid(message, line));
            }
            b'|' | b'.' | b'-' | b'/' | b'%' | b'=' | b'<' | b'>' | b'!' | b':' => operators += 1,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let rest = text.get(start..).unwrap_or_default();
                let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                if word == "recursive" {
                    let message = "uses `recursive`; a prompt may not call itself".to_owned();
                    return Err(TemplateError::invalid(message, line));
                }
                // `if` inside a value nests its alternatives; each one is a level.
                operators += usize::from(WORDS.contains(&word) || word == "if" || word == "else");
                at = start + length.max(1);
            }
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(TemplateError::out_of_bounds(too_deep(), line));
        }
        if operators > OPERATORS_MAX {
            return Err(TemplateError::out_of_bounds(too_many_operators(), line));
        }
    }
    Ok(())
}
