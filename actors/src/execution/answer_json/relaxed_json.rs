//! JSON objects as models write them nearly right. Only what has one possible meaning is corrected: a control character
//! within a string means its escape, and a comma after the last member and a comment mean nothing. `NaN` and infinite
//! numbers have no value in JSON, so they are found and not corrected.

/// What models write for numbers that JSON does not have.
const NUMBERS_NOT_IN_JSON: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The corrected object at the beginning of a text.
pub(super) struct Corrected {
    /// Its JSON; each number that JSON does not have is `null` in it.
    pub(super) json: String,
    /// Its length in the text.
    pub(super) length: usize,
    /// The first number that JSON does not have.
    pub(super) not_in_json: Option<NumberNotInJson>,
}

/// A number that JSON does not have.
pub(super) struct NumberNotInJson {
    word: &'static str,
    /// The byte of the text at which it begins.
    at: usize,
}

impl NumberNotInJson {
    /// Describes it with its position in the text, which is counted as the parser does.
    pub(super) fn describe(&self, text: &str) -> String {
        let before = text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
        format!("`{}` is no value of JSON, at line {line} column {column}", self.word)
    }
}

/// The object at the beginning of a text with what can be corrected. `None` if it does not end, or if there is nothing
/// to correct.
pub(super) fn object(text: &str) -> Option<Corrected> {
    correct(text).filter(|corrected| text.get(..corrected.length) != Some(corrected.json.as_str()))
}

/// The length of the object at the beginning of a text, by its brackets and its strings; `None` if it does not end.
pub(super) fn object_length(text: &str) -> Option<usize> {
    correct(text).map(|corrected| corrected.length)
}

fn correct(text: &str) -> Option<Corrected> {
    let (mut json, mut not_in_json) = (String::new(), None);
    let (mut depth, mut last) = (0_usize, ' ');
    let (mut is_string, mut is_escaped) = (false, false);
    // Where the last comma is, if nothing but white space and comments follow it so far.
    let mut comma = None;
    // Where the last comment or number that JSON does not have ends.
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if at < end {
            continue;
        }
        if is_string {
            is_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            push_string_character(c, &mut json);
            last = '"';
            continue;
        }
        let rest = text.get(at..)?;
        if let Some(length) = comment_length(rest) {
            // What is before it and what is after it do not become one word.
            json.push(' ');
            end = at + length;
            continue;
        }
        if let Some(word) = number_not_in_json(rest).filter(|_| matches!(last, ':' | ',' | '[')) {
            not_in_json = not_in_json.or(Some(NumberNotInJson { word, at }));
            json.push_str("null");
            (last, comma, end) = (c, None, at + word.len());
            continue;
        }
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                json.push(c);
                continue;
            }
            // Between brackets, or beside another comma, it is no comma after a member.
            ',' => comma = (!matches!(last, '{' | '[' | ',')).then_some(json.len()),
            '}' | ']' => {
                if let Some(comma) = comma.take() {
                    json.truncate(comma);
                }
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    json.push(c);
                    return Some(Corrected { json, length: at + 1, not_in_json });
                }
            }
            '{' | '[' => {
                depth += 1;
                comma = None;
            }
            _ => {
                is_string = c == '"';
                comma = None;
            }
        }
        json.push(c);
        last = c;
    }
    None
}

/// The length of the comment at the beginning of a text, without the line feed after it. One that does not end is as
/// long as the text.
fn comment_length(text: &str) -> Option<usize> {
    if let Some(comment) = text.strip_prefix("//") {
        return Some(comment.find('\n').map_or(text.len(), |feed| "//".len() + feed));
    }
    let comment = text.strip_prefix("/*")?;
    Some(comment.find("*/").map_or(text.len(), |end| "/*".len() + end + "*/".len()))
}

/// The number at the beginning of a text that JSON does not have.
fn number_not_in_json(text: &str) -> Option<&'static str> {
    let is_whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    NUMBERS_NOT_IN_JSON.into_iter().find(|word| text.strip_prefix(word).is_some_and(is_whole))
}

/// Adds a character of a string, as an escape if it is a control character.
fn push_string_character(c: char, json: &mut String) {
    match c {
        '\n' => json.push_str("\\n"),
        '\r' => json.push_str("\\r"),
        '\t' => json.push_str("\\t"),
        c if c < ' ' => {
            json.push_str("\\u00");
            json.extend(
                [u32::from(c) / 16, u32::from(c) % 16].into_iter().filter_map(|digit| char::from_digit(digit, 16)),
            );
        }
        c => json.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_no_doubt_is_corrected() {
        for (text, expected) in [
            ("{\"a\": 1, } x", "{\"a\": 1}"),
            ("{\"a\": [1,\n],}", "{\"a\": [1]}"),
            ("{\"a\": \"x\u{1}\n, }\"}", "{\"a\": \"x\\u0001\\n, }\"}"),
            ("{\"a\": [1, // ]\n /* ] */ ]}", "{\"a\": [1]}"),
            ("{\"a\": \"\\\"\\\\\",}", "{\"a\": \"\\\"\\\\\"}"),
        ] {
            assert_eq!(object(text).map(|corrected| corrected.json).as_deref(), Some(expected), "{text}");
        }
        for text in ["{\"a\": 1}", "{}", "{,}", "{\"a\": [,]}", "{\"a\": 1", "{\"a\": \"x}", "}", "{\"a\": 1 // }"] {
            assert!(object(text).is_none(), "{text}");
        }
        assert_eq!(object("{\"a\": 1,, }").map(|corrected| corrected.json), None, "the parser rejects it as it is");
        assert_eq!(object_length("{\"a\": {\"b\": \"}\"}} x"), Some(17));
    }
}
