//! What a request says: the facts in it, its sentences, and how long an answer may be.

use greenroom_protocol::Json;

use super::DISCLAIMER;
use crate::tables::TableFacts;

/// Sentences that are looked at.
const SENTENCES_MAX: usize = 2_000;
/// Bytes of a sentence; a longer line is a table or a picture.
const SENTENCE_BYTES_MAX: usize = 600;
/// Documents that are tried as JSON.
const DOCUMENTS_MAX: usize = 64;

/// A request, read.
pub(super) struct ParsedPrompt {
    /// What the definition says, in lower case.
    pub(super) task: String,
    /// The facts, if there are any.
    pub(super) facts: Option<TableFacts>,
    /// Other JSON documents.
    pub(super) documents: Vec<Json>,
    /// Sentences of the data, in order.
    pub(super) sentences: Vec<Sentence>,
    /// Characters that the request allows, if it says so.
    pub(super) characters_max: Option<usize>,
}

/// A sentence and what it is worth.
pub(super) struct Sentence {
    pub(super) text: String,
    /// True if it opens a section or a paragraph.
    pub(super) opens: bool,
    /// True if it has a figure in it.
    pub(super) figure: bool,
}

impl ParsedPrompt {
    pub(super) fn of(system: &str, user: &str) -> Self {
        let (asked, data) = parts(user);
        let (documents, prose) = split(data);
        let facts = documents.iter().find_map(find_facts);
        let mut sentences = Vec::new();
        for document in documents.iter().filter(|_| facts.is_none()) {
            texts_of(document, &mut |text| read_sentences(text, &mut sentences));
        }
        read_sentences(&prose, &mut sentences);
        Self {
            task: system.to_lowercase(),
            facts,
            documents,
            sentences,
            characters_max: limit(asked).or_else(|| limit(system)),
        }
    }
}

/// The text up to so many bytes, cut at a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// What is asked, and the data: a prompt puts its data below a heading of the first level. One that has
/// none is all data.
fn parts(user: &str) -> (&str, &str) {
    let heading = user
        .match_indices("# ")
        .map(|(at, _)| at)
        .find(|at| *at == 0 || user.get(..*at).is_some_and(|before| before.ends_with('\n')));
    match heading {
        Some(at) => user.split_at(at),
        None => ("", user),
    }
}

/// JSON documents that stand in the text, and the text without them.
fn split(text: &str) -> (Vec<Json>, String) {
    let mut documents = Vec::new();
    let mut prose = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '[']).filter(|_| documents.len() < DOCUMENTS_MAX) {
        let (before, candidate) = rest.split_at(at);
        prose.push_str(before);
        let mut stream = serde_json::Deserializer::from_str(candidate).into_iter::<Json>();
        match stream.next() {
            Some(Ok(document)) => {
                let end = stream.byte_offset();
                documents.push(document);
                rest = candidate.get(end..).unwrap_or_default();
            }
            Some(Err(_)) | None => {
                let (mark, after) = candidate.split_at(1);
                prose.push_str(mark);
                rest = after;
            }
        }
    }
    prose.push_str(rest);
    (documents, prose)
}

fn find_facts(value: &Json) -> Option<TableFacts> {
    TableFacts::from_json(value).or_else(|| match value {
        Json::Array(items) => items.iter().find_map(find_facts),
        Json::Object(members) => members.values().find_map(find_facts),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    })
}

fn texts_of(value: &Json, take: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => take(text),
        Json::Array(items) => items.iter().for_each(|item| texts_of(item, take)),
        Json::Object(members) => members.values().for_each(|member| texts_of(member, take)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Sentences of a text. Headings, instructions that end in a colon, tags, the description of pictures
/// and this provider's own mark are none.
fn read_sentences(text: &str, sentences: &mut Vec<Sentence>) {
    let text = text.replace(DISCLAIMER, "");
    let mut opens = true;
    let mut pictures = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            pictures = line.to_lowercase().contains("chart");
            opens = true;
            continue;
        }
        if line.is_empty() {
            opens = true;
            continue;
        }
        let is_tag = line.starts_with('<') && line.ends_with('>');
        if pictures || is_tag || line.ends_with(':') || line.starts_with("```") || line.starts_with("---") {
            continue;
        }
        let line = line.trim_start_matches(['-', '*', '•', '>', '|', ' ']).trim();
        for sentence in sentences_of(line) {
            let plain = sentence.replace("**", "").replace("__", "");
            let plain = plain.trim();
            if !plain.chars().any(char::is_alphabetic)
                || plain.len() > SENTENCE_BYTES_MAX
                || sentences.len() >= SENTENCES_MAX
            {
                continue;
            }
            if sentences.iter().any(|known| known.text == plain) {
                continue;
            }
            let figure = plain.chars().any(|c| c.is_ascii_digit());
            sentences.push(Sentence { text: plain.to_owned(), opens, figure });
            opens = false;
        }
    }
}

/// Cuts a line behind a mark that ends a sentence and is followed by a space.
fn sentences_of(line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut letters = line.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        if matches!(c, '.' | '!' | '?') && letters.peek().is_none_or(|(_, next)| next.is_whitespace()) {
            let end = at + c.len_utf8();
            let sentence = line.get(start..end).unwrap_or_default().trim();
            // `e.g.`, `No.` and an initial end nothing.
            let last = sentence.trim_end_matches('.').rsplit([' ', '.']).next().unwrap_or_default();
            if c == '.' && (last.chars().count() <= 1 || ["No", "vs", "Mr", "Ms", "Dr", "approx"].contains(&last)) {
                continue;
            }
            all.push(sentence);
            start = end;
        }
    }
    let rest = line.get(start..).unwrap_or_default().trim();
    if !rest.is_empty() {
        all.push(rest);
    }
    all
}

/// `under 1,000 characters`, `at most 120 words`: the number before the word.
fn limit(text: &str) -> Option<usize> {
    const LETTERS_OF_A_WORD: usize = 6;
    let lower = text.to_lowercase();
    for (unit, factor) in [("characters", 1), ("words", LETTERS_OF_A_WORD)] {
        for (at, _) in lower.match_indices(unit) {
            let before = lower.get(..at).unwrap_or_default().trim_end();
            let number: String = before
                .chars()
                .rev()
                .take_while(|c| c.is_ascii_digit() || *c == ',')
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            if let Ok(number) = number.replace(',', "").parse::<usize>() {
                return number.checked_mul(factor).filter(|limit| *limit >= 40);
            }
        }
    }
    None
}
