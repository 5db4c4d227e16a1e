//! Parses a request: its facts, its sentences, and the length that it allows for an answer.

use greenroom_protocol::Json;

use super::DISCLAIMER;
use crate::tables::TableFacts;

/// Maximum sentences that are read.
const SENTENCES_MAX: usize = 2_000;
/// Maximum size of a sentence; a longer line is a table or an image.
const SENTENCE_BYTES_MAX: usize = 600;
/// Maximum JSON documents that are parsed.
const DOCUMENTS_MAX: usize = 64;

/// A parsed request.
pub(super) struct ParsedPrompt {
    /// The system part, in lower case.
    pub(super) task: String,
    /// The facts, if the request has any.
    pub(super) facts: Option<TableFacts>,
    /// Other JSON documents.
    pub(super) documents: Vec<Json>,
    /// Sentences of the data, in order.
    pub(super) sentences: Vec<Sentence>,
    /// Maximum characters of the answer, if the request has a limit.
    pub(super) characters_max: Option<usize>,
}

/// A sentence and the properties that its rank depends on.
pub(super) struct Sentence {
    pub(super) text: String,
    /// True if it opens a section or a paragraph.
    pub(super) opens: bool,
    /// True if it contains a figure.
    pub(super) has_figure: bool,
}

impl ParsedPrompt {
    pub(super) fn parse(system: &str, user: &str) -> Self {
        let (instructions, data) = split_data(user);
        let (documents, prose) = split_documents(data);
        let facts = documents.iter().find_map(find_facts);
        let mut sentences = Vec::new();
        for document in documents.iter().filter(|_| facts.is_none()) {
            for_each_text(document, &mut |text| read_sentences(text, &mut sentences));
        }
        read_sentences(&prose, &mut sentences);
        Self {
            task: system.to_lowercase(),
            facts,
            documents,
            sentences,
            characters_max: parse_limit(instructions).or_else(|| parse_limit(system)),
        }
    }
}

/// Splits the user part into instructions and data: data follows the first heading of the first level.
/// Without such a heading, everything is data.
fn split_data(user: &str) -> (&str, &str) {
    let heading = user
        .match_indices("# ")
        .map(|(at, _)| at)
        .find(|at| *at == 0 || user.get(..*at).is_some_and(|before| before.ends_with('\n')));
    match heading {
        Some(at) => user.split_at(at),
        None => ("", user),
    }
}

/// Separates the JSON documents in a text from the rest of the text.
fn split_documents(text: &str) -> (Vec<Json>, String) {
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

fn for_each_text(value: &Json, take: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => take(text),
        Json::Array(items) => items.iter().for_each(|item| for_each_text(item, take)),
        Json::Object(members) => members.values().for_each(|member| for_each_text(member, take)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Collects the sentences of a text. Headings, instructions that end in a colon, tags, descriptions of
/// charts and the disclaimer of this provider are left out.
fn read_sentences(text: &str, sentences: &mut Vec<Sentence>) {
    let text = text.replace(DISCLAIMER, "");
    let mut opens = true;
    let mut in_charts = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            in_charts = line.to_lowercase().contains("chart");
            opens = true;
            continue;
        }
        if line.is_empty() {
            opens = true;
            continue;
        }
        let is_tag = line.starts_with('<') && line.ends_with('>');
        if in_charts || is_tag || line.ends_with(':') || line.starts_with("```") || line.starts_with("---") {
            continue;
        }
        let line = line.trim_start_matches(['-', '*', '•', '>', '|', ' ']).trim();
        for sentence in split_sentences(line) {
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
            let has_figure = plain.chars().any(|c| c.is_ascii_digit());
            sentences.push(Sentence { text: plain.to_owned(), opens, has_figure });
            opens = false;
        }
    }
}

/// Splits a line after each punctuation mark that ends a sentence and is followed by a space.
fn split_sentences(line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut letters = line.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        if matches!(c, '.' | '!' | '?') && letters.peek().is_none_or(|(_, next)| next.is_whitespace()) {
            let end = at + c.len_utf8();
            let sentence = line.get(start..end).unwrap_or_default().trim();
            // `e.g.`, `No.` and an initial do not end a sentence.
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

/// Parses a limit such as `under 1,000 characters` or `at most 120 words`.
fn parse_limit(text: &str) -> Option<usize> {
    const CHARS_PER_WORD: usize = 6;
    let lower = text.to_lowercase();
    for (unit, factor) in [("characters", 1), ("words", CHARS_PER_WORD)] {
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
