//! Parses a request: its facts, its sentences, and the length that it allows for an answer.

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Json, Values};

use super::mark::DISCLAIMER;
use super::stated_values::StatedValues;
use crate::tables::TableFacts;

/// Maximum sentences that are read.
const SENTENCES_MAX: usize = 2_000;
/// Maximum size of a sentence; a longer line is a table or an image.
const SENTENCE_BYTES_MAX: usize = 600;
/// Minimum words of a text in a document; shorter ones are names and units.
const DOCUMENT_WORDS_MIN: usize = 3;
/// Maximum JSON documents that are parsed.
const DOCUMENTS_MAX: usize = 64;

/// A parsed request.
pub(super) struct ParsedPrompt {
    /// The system part, in lower case.
    pub(super) task: String,
    /// The facts, if the request has any.
    pub(super) facts: Option<TableFacts>,
    /// The values that the data states by name.
    pub(super) stated: StatedValues,
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
    /// Parses a request. Its data is what follows the first heading of the user part; without a heading, the
    /// inputs of the agent, so that no instruction of its definition becomes an answer.
    pub(super) fn parse(system: &str, user: &str, inputs: &Values) -> Self {
        let (instructions, headed) = split_data(user);
        let from_inputs = headed.is_none().then(|| join_inputs(inputs)).filter(|text| !text.is_empty());
        let data = from_inputs.as_deref().or(headed).unwrap_or(user);
        let (documents, prose) = split_documents(data);
        let facts = documents.iter().find_map(TableFacts::find_in);
        let mut sentences = Vec::new();
        let mut stated = StatedValues::default();
        for document in &documents {
            stated.add_document(document);
            if facts.is_none() {
                for_each_text(document, &mut |text| read_document_text(text, &mut sentences));
            }
        }
        stated.add_text(&prose);
        read_sentences(&prose, &mut sentences);
        if sentences.is_empty() && facts.is_none() {
            sentences.extend(first_words(&prose));
        }
        Self {
            task: system.to_lowercase(),
            facts,
            stated,
            sentences,
            characters_max: parse_limit(instructions).or_else(|| parse_limit(system)),
        }
    }
}

/// The inputs as a text: texts as they are, other values as JSON.
fn join_inputs(inputs: &Values) -> String {
    let texts = inputs.values().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    texts.collect::<Vec<_>>().join("\n\n")
}

/// The beginning of a text that has no sentence of an ordinary length.
fn first_words(prose: &str) -> Option<Sentence> {
    let mut lines = prose.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.chars().any(char::is_alphabetic))?;
    let text = truncate_utf8(line, SENTENCE_BYTES_MAX);
    let text = if text.len() < line.len() { format!("{text}…") } else { text.to_owned() };
    Some(Sentence { text, opens: true, has_figure: false })
}

/// Splits the user part into instructions and data: data follows the first heading of the first level.
fn split_data(user: &str) -> (&str, Option<&str>) {
    let heading = user
        .match_indices("# ")
        .map(|(at, _)| at)
        .find(|at| *at == 0 || user.get(..*at).is_some_and(|before| before.ends_with('\n')));
    match heading {
        Some(at) => {
            let (instructions, data) = user.split_at(at);
            (instructions, Some(data))
        }
        None => (user, None),
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

fn for_each_text(value: &Json, take: &mut impl FnMut(&str)) {
    match value {
        Json::String(text) => take(text),
        Json::Array(items) => items.iter().for_each(|item| for_each_text(item, take)),
        Json::Object(members) => members.values().for_each(|member| for_each_text(member, take)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn read_document_text(text: &str, sentences: &mut Vec<Sentence>) {
    if text.split_whitespace().count() >= DOCUMENT_WORDS_MIN {
        read_sentences(text, sentences);
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

/// Splits a line after each punctuation mark that ends a sentence: one of a script without spaces, or one that
/// is followed by a space.
fn split_sentences(line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut letters = line.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        let is_end = matches!(c, '.' | '!' | '?') && letters.peek().is_none_or(|(_, next)| next.is_whitespace());
        if is_end || matches!(c, '。' | '！' | '？') {
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
