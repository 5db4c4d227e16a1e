//! Finds spaces that look like indentation or a separator and are part of the text for YAML: no-break spaces,
//! byte order marks, and other spaces that are not ASCII. Pages and text processors insert them.

use std::ops::Range;

use super::{Position, YamlError, narrow};
use crate::problem::ProblemKind;

/// The mark with which some editors begin a file.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// The position of a plain text relative to the map that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainRole {
    /// The name of a member.
    Name,
    /// A value on the line of its name, in which a colon is part of the text.
    ValueBesideName,
    /// A value elsewhere: an item of a list, or a value below its name.
    OtherValue,
}

/// Checks a text without quotes. Inside of it, between two words, every space is part of the text.
pub(super) fn check_plain(text: &str, at: Position, role: PlainRole) -> Result<(), YamlError> {
    // No odd space is ASCII, and few texts are not.
    if text.is_ascii() {
        return Ok(());
    }
    let offset = match role {
        PlainRole::Name => misplaced(text).or_else(|| after(text, ':')),
        PlainRole::ValueBesideName => misplaced(text),
        PlainRole::OtherValue => misplaced(text).or_else(|| after_name(text)),
    };
    match offset.and_then(|offset| text.get(offset..)?.chars().next()) {
        Some(space) => Err(error(at, space)),
        None => Ok(()),
    }
}

/// Finds the space that explains an error of the parser: in the indentation of a line, or after a name, up to the
/// line of the error. The lines of quoted texts and blocks are skipped.
pub(super) fn explain(text: &str, last_line: u32, skipped: &[Range<u32>]) -> Option<YamlError> {
    let lines = (1_u32..=last_line).zip(text.lines());
    let mut checked = lines.filter(|(number, _)| !skipped.iter().any(|range| range.contains(number)));
    checked.find_map(|(number, line)| {
        let offset = in_indentation(line).or_else(|| {
            after_name(line.trim_start_matches([' ', '-']))
                .map(|offset| offset + line.len() - line.trim_start_matches([' ', '-']).len())
        })?;
        let space = line.get(offset..)?.chars().next()?;
        let column = narrow(line.get(..offset)?.chars().count() + 1);
        Some(error(Position { line: number, column }, space))
    })
}

fn error(at: Position, space: char) -> YamlError {
    let name = match space {
        BYTE_ORDER_MARK => "a byte order mark",
        '\u{a0}' | '\u{202f}' | '\u{2007}' => "a no-break space",
        '\u{200b}' | '\u{2060}' | '\u{180e}' => "an invisible space",
        _ => "a space that is not ASCII",
    };
    let found = format!("{name} (U+{:04X}) is part of the text here, not of the layout", u32::from(space));
    let expected = "replace it by a space, or put the text in quotes".to_owned();
    YamlError { at, kind: ProblemKind::Syntax, found, expected }
}

fn is_odd(c: char) -> bool {
    let invisible = matches!(c, BYTE_ORDER_MARK | '\u{200b}' | '\u{2060}' | '\u{180e}');
    !c.is_ascii() && (c.is_whitespace() || invisible)
}

/// The offset of an odd space at an end of the text, after a leading `-` or `?`, or before a `#`.
fn misplaced(text: &str) -> Option<usize> {
    let indicator = text.len() - text.trim_start_matches(['-', '?']).len();
    let first = text.get(indicator..)?.chars().next()?;
    if is_odd(first) && indicator <= 1 {
        return Some(indicator);
    }
    let last = text.chars().next_back().filter(|c| is_odd(*c)).map(|c| text.len() - c.len_utf8());
    last.or_else(|| {
        text.char_indices()
            .zip(text.chars().skip(1))
            .find(|((_, c), next)| is_odd(*c) && *next == '#')
            .map(|((offset, _), _)| offset)
    })
}

/// The offset of an odd space directly after this character.
fn after(text: &str, character: char) -> Option<usize> {
    let pairs = text.char_indices().zip(text.char_indices().skip(1));
    pairs.into_iter().find(|((_, c), (_, next))| *c == character && is_odd(*next)).map(|(_, (offset, _))| offset)
}

/// The offset of an odd space after a name and a colon with which the text begins.
fn after_name(text: &str) -> Option<usize> {
    let unquoted = text.trim_start_matches('"');
    let name = unquoted.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"')))?;
    let colon = text.len() - unquoted.len() + name;
    let rest = text.get(colon..)?.strip_prefix(':')?;
    rest.chars().next().filter(|c| is_odd(*c)).map(|_| colon + 1)
}

fn in_indentation(line: &str) -> Option<usize> {
    line.char_indices().take_while(|(_, c)| c.is_whitespace() || is_odd(*c)).find(|(_, c)| is_odd(*c)).map(|(at, _)| at)
}
