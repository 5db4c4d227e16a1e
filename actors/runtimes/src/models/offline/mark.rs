//! The mark of every text that no language model wrote. It ends the text itself, so it stays with a text that
//! is copied; the metadata of a reply has the same words as its disclaimer.

/// Ends every text of this provider.
pub(crate) const DISCLAIMER: &str = "(offline extract, no language model)";
/// Maximum characters of a text, if neither the schema nor the request has a limit.
pub(super) const TEXT_CHARS: usize = 2_400;
/// Minimum characters beside the mark; a text with less room states nothing.
const TEXT_CHARS_MIN: usize = 8;

/// The characters that the mark leaves for a text of at most `chars_max`; `None` if they are too few.
pub(super) fn room(chars_max: usize) -> Option<usize> {
    // The mark is separated by a space, or by an empty line after a text of several paragraphs.
    chars_max.checked_sub(DISCLAIMER.chars().count() + 2).filter(|room| *room >= TEXT_CHARS_MIN)
}

/// Appends the mark. A text that does not fit is cut off visibly; `None` if the mark leaves no room.
pub(super) fn marked(text: &str, chars_max: usize) -> Option<String> {
    let room = room(chars_max)?;
    let text = text.trim();
    let gap = if text.contains('\n') { "\n\n" } else { " " };
    Some(format!("{}{gap}{DISCLAIMER}", truncate(text, room)))
}

fn truncate(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}
