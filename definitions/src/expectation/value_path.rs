//! The path of an assertion: `NAME`, then `.member`, `[0]` or `[*]`.

use greenroom_protocol::{Json, Values};

/// Maximum number of parts of a path.
const PARTS_MAX: usize = 16;

/// One part of a path, after the name of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// A member of an object.
    Member(String),
    /// An item of an array, from 0.
    Item(usize),
    /// Every item of an array.
    EveryItem,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuePath {
    /// The name of the output.
    pub output: String,
    /// The parts after it.
    pub parts: Vec<PathPart>,
}

impl ValuePath {
    /// Parses a path.
    ///
    /// # Errors
    /// The message of the problem.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a path: it is `NAME`, then `.member`, `[0]` or `[*]`");
        let end = text.find(['.', '[']).unwrap_or(text.len());
        let (output, mut rest) = text.split_at_checked(end).ok_or_else(invalid)?;
        if output.trim().is_empty() {
            return Err(invalid());
        }
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, after) = next_part(rest).ok_or_else(invalid)?;
            parts.push(part);
            rest = after;
            if parts.len() > PARTS_MAX {
                return Err(format!("the path has more than {PARTS_MAX} parts"));
            }
        }
        Ok(Self { output: output.to_owned(), parts })
    }

    /// The values at the path, each with its own path.
    ///
    /// # Errors
    /// The message about the first part that has no value, or about a list without items whose every item is meant.
    pub fn resolve<'v>(&self, outputs: &'v Values) -> Result<Vec<(String, &'v Json)>, String> {
        let first = outputs.get(&self.output).filter(|value| !value.is_null());
        let first = first.ok_or_else(|| format!("there is no `{}`", self.output))?;
        let mut values = vec![(self.output.clone(), first)];
        for part in &self.parts {
            let mut inner = Vec::new();
            for (path, value) in values {
                step(part, &path, value, &mut inner)?;
            }
            values = inner;
        }
        Ok(values)
    }
}

/// Adds the values that one part means in a value.
fn step<'v>(part: &PathPart, path: &str, value: &'v Json, inner: &mut Vec<(String, &'v Json)>) -> Result<(), String> {
    match part {
        PathPart::Member(name) => {
            let member = value.get(name.as_str()).filter(|member| !member.is_null());
            let member = member.ok_or_else(|| format!("there is no `{path}.{name}`"))?;
            inner.push((format!("{path}.{name}"), member));
        }
        PathPart::Item(at) => {
            let item = value.get(*at).ok_or_else(|| format!("there is no `{path}[{at}]`"))?;
            inner.push((format!("{path}[{at}]"), item));
        }
        PathPart::EveryItem => {
            let items = value.as_array().filter(|items| !items.is_empty());
            let items = items.ok_or_else(|| format!("`{path}` has no items"))?;
            inner.extend(items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)));
        }
    }
    Ok(())
}

/// The first part of a text that begins with `.` or `[`, and what follows it.
fn next_part(text: &str) -> Option<(PathPart, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end)?;
        return (!name.trim().is_empty()).then(|| (PathPart::Member(name.to_owned()), after));
    }
    let (inside, after) = text.strip_prefix('[')?.split_once(']')?;
    if inside == "*" {
        return Some((PathPart::EveryItem, after));
    }
    let is_number = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit());
    let at = inside.parse().ok().filter(|_| is_number)?;
    Some((PathPart::Item(at), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_names_items_and_every_item() {
        let path = ValuePath::parse("rows[*].by[2].amount").unwrap();
        assert_eq!(path.output, "rows");
        let member = |name: &str| PathPart::Member(name.to_owned());
        assert_eq!(path.parts, [PathPart::EveryItem, member("by"), PathPart::Item(2), member("amount")]);
        for text in ["", ".a", "[0]", "a.", "a..b", "a[", "a[]", "a[-1]", "a[x]", "a[0]b", "a[+1]"] {
            assert!(ValuePath::parse(text).is_err(), "{text}");
        }
        assert!(ValuePath::parse(&format!("a{}", ".b".repeat(17))).is_err());
    }
}
