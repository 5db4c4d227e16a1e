//! JSON objects as models write them nearly right. Only what has one possible meaning is corrected: a control character
//! within a string means its escape, and a comma after the last member means nothing.

/// The object at the beginning of a text with both corrected, and its length in the text. `None` if it does not end, or
/// if there is nothing to correct.
pub(super) fn object(text: &str) -> Option<(String, usize)> {
    let (json, length) = correct(text)?;
    (text.get(..length)? != json).then_some((json, length))
}

/// The length of the object at the beginning of a text, by its brackets and its strings; `None` if it does not end.
pub(super) fn object_length(text: &str) -> Option<usize> {
    correct(text).map(|(_, length)| length)
}

fn correct(text: &str) -> Option<(String, usize)> {
    let mut json = String::new();
    let (mut depth, mut last) = (0_usize, ' ');
    let (mut is_string, mut is_escaped) = (false, false);
    // Where the last comma is, if nothing but white space follows it so far.
    let mut comma = None;
    for (at, c) in text.char_indices() {
        if is_string {
            is_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            push_string_character(c, &mut json);
            last = '"';
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
                    return Some((json, at + 1));
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
            ("{\"a\": \"\\\"\\\\\",}", "{\"a\": \"\\\"\\\\\"}"),
        ] {
            assert_eq!(object(text).map(|(json, _)| json).as_deref(), Some(expected), "{text}");
        }
        for text in ["{\"a\": 1}", "{}", "{,}", "{\"a\": [,]}", "{\"a\": 1", "{\"a\": \"x}", "}"] {
            assert_eq!(object(text), None, "{text}");
        }
        assert_eq!(object("{\"a\": 1,, }").map(|(json, _)| json).as_deref(), None, "the parser rejects it as it is");
        assert_eq!(object_length("{\"a\": {\"b\": \"}\"}} x"), Some(17));
    }
}
