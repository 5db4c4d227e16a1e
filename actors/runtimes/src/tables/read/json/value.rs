//! The raw text of a JSON value → cells, and its line in the file.

use greenroom_protocol::Cause;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::tables::grid::Cell;
use crate::tables::note::{invalid, preview};

/// Maximum digits of a number that is written with an exponent.
const DIGITS_MAX: usize = 64;

/// Counts the lines before a value. Values in the order of the text are found fastest.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    position: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0, line: 1 }
    }

    /// The position of a value, which is a part of the text.
    fn start_of(&self, value: &RawValue) -> usize {
        (value.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize).min(self.text.len())
    }

    /// The position after a value.
    pub(super) fn end_of(&self, value: &RawValue) -> usize {
        self.start_of(value) + value.get().len()
    }

    /// The line on which a value begins.
    pub(super) fn line_of(&mut self, value: &RawValue) -> u64 {
        self.line_at(self.start_of(value))
    }

    /// The line of a position.
    pub(super) fn line_at(&mut self, position: usize) -> u64 {
        if position < self.position {
            (self.position, self.line) = (0, 1);
        }
        let between = self.text.as_bytes().get(self.position..position).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.position = position;
        self.line
    }
}

/// True if the value is an object.
pub(super) fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// True if the value is a list.
pub(super) fn is_list(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

/// Creates the error for JSON that cannot be parsed. The line of the parser is relative to the value.
pub(super) fn unparsable(line: u64, error: &serde_json::Error) -> Cause {
    let text = error.to_string();
    invalid(line, format!("the JSON cannot be read: {}", text.split(" at line ").next().unwrap_or_default()))
}

/// The items of a list.
///
/// # Errors
/// `invalid_data` if the value is no list.
pub(super) fn items(value: &RawValue, line: u64) -> Result<Vec<&RawValue>, Cause> {
    serde_json::from_str(value.get()).map_err(|error| unparsable(line, &error))
}

/// The members of an object in their order.
///
/// # Errors
/// `invalid_data` if a member occurs twice: which of its values is right is unknown.
pub(super) fn members(value: &RawValue, line: u64) -> Result<Vec<(String, &RawValue)>, Cause> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut parser = serde_json::Deserializer::from_str(value.get());
    let members = parser.deserialize_map(Members).map_err(|error| unparsable(line, &error))?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some([name, _]) = names.array_windows::<2>().find(|[first, second]| first == second) {
        return Err(invalid(line, format!("the record has the member {} twice", preview(name))));
    }
    Ok(members)
}

/// The names of a list of names, or of objects that describe columns: `[{"id": "date", "type": "text"}]`.
///
/// # Errors
/// `invalid_data` for a text that cannot be represented.
pub(super) fn names(list: &RawValue, line: u64) -> Result<Vec<Cell>, Cause> {
    const MEMBERS: [&str; 6] = ["name", "id", "label", "title", "field", "key"];
    let name = |item: &RawValue| {
        if !is_object(item) {
            return cell(item, line);
        }
        let members = members(item, line)?;
        let name = MEMBERS.iter().find_map(|name| members.iter().find(|(member, _)| member == name));
        name.map_or(Ok(Cell::Empty), |(_, value)| cell(value, line))
    };
    items(list, line)?.into_iter().map(name).collect()
}

/// The cells of a list.
///
/// # Errors
/// `invalid_data` for a value that no cell can have.
pub(super) fn cells(list: &RawValue, line: u64) -> Result<Vec<Cell>, Cause> {
    items(list, line)?.into_iter().map(|item| cell(item, line)).collect()
}

/// The cell of one value. A list or an object is the text that the file has for it.
///
/// # Errors
/// `invalid_data` for a text or a number that cannot be represented.
pub(super) fn cell(value: &RawValue, line: u64) -> Result<Cell, Cause> {
    let text = value.get();
    match text.bytes().next() {
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(|error| unparsable(line, &error))?;
            Ok(Cell::from_text(&text))
        }
        Some(b't') => Ok(Cell::Boolean(true)),
        Some(b'f') => Ok(Cell::Boolean(false)),
        Some(b'-' | b'0'..=b'9') => match plain_decimal(text) {
            Some(number) => Ok(Cell::Number(number)),
            None => Err(invalid(line, format!("the number {} has too many digits to be exact", preview(text)))),
        },
        Some(b'[' | b'{') => Ok(Cell::Text(text.to_owned())),
        Some(_) | None => Ok(Cell::Empty),
    }
}

/// The cell of a value with its type, as MongoDB exports it: `{"$numberDecimal": "1.5"}`, `{"$date": "2024-10-01T00:00:00Z"}`.
/// `None` for any other value.
///
/// # Errors
/// As [`cell`].
pub(super) fn typed_cell(value: &RawValue, line: u64) -> Result<Option<Cell>, Cause> {
    const NUMBERS: [&str; 4] = ["$numberDecimal", "$numberDouble", "$numberInt", "$numberLong"];
    const OTHERS: [&str; 3] = ["$date", "$oid", "$uuid"];
    if !is_object(value) || !value.get().contains("\"$") {
        return Ok(None);
    }
    let members = members(value, line)?;
    let [(name, inner)] = members.as_slice() else { return Ok(None) };
    if OTHERS.contains(&name.as_str()) {
        return match typed_cell(inner, line)? {
            Some(cell) => Ok(Some(cell)),
            None => cell(inner, line).map(Some),
        };
    }
    if !NUMBERS.contains(&name.as_str()) {
        return Ok(None);
    }
    Ok(Some(match cell(inner, line)? {
        Cell::Text(text) if serde_json::from_str::<serde_json::Number>(&text).is_ok() => {
            plain_decimal(&text).map_or(Cell::Text(text), Cell::Number)
        }
        other => other,
    }))
}

/// Rewrites a JSON number without an exponent: `1.5e3` → `1500`.
fn plain_decimal(text: &str) -> Option<String> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Some(text.to_owned()) };
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{integer}{fraction}");
    if digits.bytes().all(|digit| digit == b'0') {
        return Some("0".to_owned());
    }
    let point = i32::try_from(integer.len()).ok()?.checked_add(exponent)?;
    let padding = usize::try_from(point.unsigned_abs()).ok()?;
    if digits.len().checked_add(padding)? > DIGITS_MAX {
        return None;
    }
    let point = usize::try_from(point).unwrap_or(0);
    let zeros = if exponent < 0 && point == 0 { padding } else { 0 };
    let digits = format!("{}{digits}", "0".repeat(zeros));
    let digits = format!("{digits:0<point$}");
    let (integer, fraction) = digits.split_at_checked(point)?;
    let integer = integer.trim_start_matches('0');
    let integer = if integer.is_empty() { "0" } else { integer };
    Some(if fraction.is_empty() { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") })
}

#[cfg(test)]
mod tests {
    use super::plain_decimal;

    #[test]
    fn a_number_is_rewritten_without_its_exponent() {
        for (text, expected) in [
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("1.10", Some("1.10")),
            ("1.5e3", Some("1500")),
            ("-1.5E-3", Some("-0.0015")),
            ("1e0", Some("1")),
            ("12.5e1", Some("125")),
            ("12.5e-1", Some("1.25")),
            ("0e999999", Some("0")),
            ("1e400", None),
            ("1e-400", None),
            ("1e99999999999", None),
        ] {
            assert_eq!(plain_decimal(text).as_deref(), expected, "{text}");
        }
    }
}
