//! The parts of a document that are remembered one by one: each has at most [`CHUNK_BYTES_MAX`], ends where a paragraph, a
//! line or a word ends if it can, repeats the end of the part before it, and knows its lines.

/// Bytes of a part.
pub const CHUNK_BYTES_MAX: usize = 1_600;
/// Bytes of the end of a part that the next one repeats, at most.
pub const OVERLAP_BYTES_MAX: usize = 200;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its text, without blanks at both ends.
    pub text: String,
    /// The number of its first line, from 1.
    pub first_line: u32,
    /// The number of its last line.
    pub last_line: u32,
}

/// Divides a document. A document without a character that is not blank has no part.
#[must_use]
pub fn divide(document: &str) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut lines = LineCounter { document, offset: 0, line: 1 };
    let mut start = 0;
    while start < document.len() {
        let end = find_end(document, start);
        let part = document.get(start..end).unwrap_or_default();
        let text = part.trim();
        if !text.is_empty() {
            let first = start + (part.len() - part.trim_start().len());
            let first_line = lines.line_at(first);
            let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
            let last_line = first_line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
            chunks.push(Chunk { text: text.to_owned(), first_line, last_line });
        }
        if end >= document.len() {
            break;
        }
        start = find_next_start(document, start, end);
    }
    chunks
}

/// Where the part ends that begins at `start`.
fn find_end(document: &str, start: usize) -> usize {
    let limit = start.saturating_add(CHUNK_BYTES_MAX);
    if limit >= document.len() {
        return document.len();
    }
    let limit = document.floor_char_boundary(limit);
    // A part is at least half as long as it may be, so that a document with many short lines has not too many.
    let middle = document.floor_char_boundary(start + CHUNK_BYTES_MAX / 2);
    let half = document.get(middle..limit).unwrap_or_default();
    let after = |pattern: &str| half.rfind(pattern).map(|at| middle + at + pattern.len());
    after("\n\n").or_else(|| after("\n")).or_else(|| after(". ")).or_else(|| after(" ")).unwrap_or(limit)
}

/// Where the part begins after the one of `start..end`: within its end, where a line or a word begins.
fn find_next_start(document: &str, start: usize, end: usize) -> usize {
    let overlap = document.floor_char_boundary(end.saturating_sub(OVERLAP_BYTES_MAX)).max(start);
    let repeated = document.get(overlap..end).unwrap_or_default();
    let begins = |blank: char| repeated.find(blank).map(|at| overlap + at + blank.len_utf8());
    // Each part begins after the one before it.
    begins('\n').or_else(|| begins(' ')).filter(|next| *next > start && *next < end).unwrap_or(end)
}

/// Counts lines up to offsets that only grow.
struct LineCounter<'d> {
    document: &'d str,
    offset: usize,
    line: u32,
}

impl LineCounter<'_> {
    fn line_at(&mut self, offset: usize) -> u32 {
        let passed = self.document.as_bytes().get(self.offset..offset).unwrap_or_default();
        let breaks = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        self.offset = self.offset.max(offset);
        self.line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_document_is_one_part_with_all_its_lines() {
        let found = divide("\n\nfirst\nsecond\n\nthird\n");
        assert_eq!(found, [Chunk { text: "first\nsecond\n\nthird".into(), first_line: 3, last_line: 6 }]);
        assert_eq!(divide(" \n\t"), []);
        assert_eq!(divide(""), []);
    }

    #[test]
    fn a_long_document_is_divided_where_paragraphs_end_and_parts_overlap() {
        let paragraph = |number: usize| format!("Paragraph {number}. {}", "word ".repeat(60).trim_end());
        let document = (0..30).map(paragraph).collect::<Vec<_>>().join("\n\n");
        let found = divide(&document);
        assert!((6..30).contains(&found.len()), "{}", found.len());
        let lines: Vec<&str> = document.lines().collect();
        for (chunk, next) in found.iter().zip(&found[1..]) {
            assert!(chunk.text.len() <= CHUNK_BYTES_MAX);
            assert_eq!(
                chunk.text.lines().next().map(|line| lines[chunk.first_line as usize - 1].ends_with(line)),
                Some(true)
            );
            assert!(next.first_line <= chunk.last_line + 2, "{next:?} follows {chunk:?}");
        }
        assert_eq!(found.last().unwrap().last_line as usize, lines.len());
    }

    #[test]
    fn a_document_without_blanks_is_divided_all_the_same() {
        let document = "ä".repeat(5_000);
        let found = divide(&document);
        assert!(found.len() >= 6 && found.iter().all(|chunk| chunk.text.len() <= CHUNK_BYTES_MAX));
        assert_eq!(found.iter().map(|chunk| chunk.text.len()).sum::<usize>(), document.len());
    }

    proptest! {
        #[test]
        fn every_word_is_in_a_part_and_every_part_is_at_its_lines(document in "([a-z]{1,9}[ \n.ä]{1,3}){0,900}") {
            let found = divide(&document);
            let lines: Vec<&str> = document.split('\n').collect();
            for chunk in &found {
                prop_assert!(chunk.text.len() <= CHUNK_BYTES_MAX && !chunk.text.is_empty());
                let first = lines.get(chunk.first_line as usize - 1).copied().unwrap_or_default();
                prop_assert!(first.contains(chunk.text.lines().next().unwrap_or_default()), "{chunk:?}");
                prop_assert!((chunk.last_line as usize) <= lines.len());
            }
            let all: String = found.iter().map(|chunk| chunk.text.as_str()).collect::<Vec<_>>().join(" ");
            for word in document.split(|c: char| !c.is_ascii_lowercase()).filter(|word| !word.is_empty()) {
                prop_assert!(all.contains(word), "{word}");
            }
        }
    }
}
