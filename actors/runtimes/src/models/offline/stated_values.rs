//! The values that the inputs state by name: a member of a JSON document, a line `Name: value`, or the items
//! below a heading `Name`. A name that has two values has none.

use std::collections::BTreeMap;

use greenroom_protocol::Json;

/// Maximum characters of the name before a colon; longer ones are the beginning of a sentence.
const NAME_CHARS_MAX: usize = 40;
/// Maximum characters of a value after a colon; longer ones are prose.
const VALUE_CHARS_MAX: usize = 200;
/// Maximum names that are read.
const NAMES_MAX: usize = 4_096;

/// What the inputs state by name.
#[derive(Default)]
pub(super) struct StatedValues {
    members: BTreeMap<String, Vec<Json>>,
    lines: BTreeMap<String, Vec<String>>,
    lists: BTreeMap<String, Vec<Vec<String>>>,
}

impl StatedValues {
    /// Adds the members of a document, not those of its members.
    pub(super) fn add_document(&mut self, document: &Json) {
        for (name, value) in document.as_object().into_iter().flatten() {
            if self.members.len() < NAMES_MAX {
                add_distinct(self.members.entry(normalize(name)).or_default(), value.clone());
            }
        }
    }

    /// Adds the lines `Name: value` of a text, and the items below each heading or line `Name:`.
    pub(super) fn add_text(&mut self, text: &str) {
        let mut list: Option<(String, Vec<String>)> = None;
        for line in text.lines() {
            let line = line.trim();
            if let Some(item) = list_item(line) {
                self.add_line(item);
                if let Some((_, items)) = &mut list {
                    items.push(item.to_owned());
                }
                continue;
            }
            if line.is_empty() {
                continue;
            }
            self.close(list.take());
            list = heading(line).map(|name| (name, Vec::new()));
            self.add_line(line);
        }
        self.close(list);
    }

    fn close(&mut self, list: Option<(String, Vec<String>)>) {
        if let Some((name, items)) = list.filter(|(_, items)| !items.is_empty())
            && self.lists.len() < NAMES_MAX
        {
            add_distinct(self.lists.entry(name).or_default(), items);
        }
    }

    fn add_line(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = plain(value);
        if value.is_empty() || value.chars().count() > VALUE_CHARS_MAX || self.lines.len() >= NAMES_MAX {
            return;
        }
        if let Some(name) = name_of(name) {
            add_distinct(self.lines.entry(name).or_default(), value.to_owned());
        }
    }

    /// The one member or line of this name that `read` accepts.
    pub(super) fn value<T>(
        &self,
        name: &str,
        from_json: impl Fn(&Json) -> Option<T>,
        from_line: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let name = normalize(name);
        let members = self.members.get(&name).map(Vec::as_slice).unwrap_or_default();
        let lines = self.lines.get(&name).map(Vec::as_slice).unwrap_or_default();
        match (members, lines) {
            ([member], []) => from_json(member),
            ([], [line]) => from_line(line),
            // A document that is also written as lines states its value twice.
            ([member], [line]) if member.as_str().map_or_else(|| member.to_string(), str::to_owned) == *line => {
                from_json(member)
            }
            (_, _) => None,
        }
    }

    /// The one list of this name.
    pub(super) fn list(&self, name: &str) -> Option<Vec<Json>> {
        let name = normalize(name);
        let members = self.members.get(&name).map(Vec::as_slice).unwrap_or_default();
        let lists = self.lists.get(&name).map(Vec::as_slice).unwrap_or_default();
        match (members, lists) {
            ([Json::Array(items)], []) => Some(items.clone()),
            ([], [items]) => Some(items.iter().map(|item| Json::from(plain(item))).collect()),
            ([], []) => {
                // `Decision: …` is an item of `decisions`.
                let lines = self.lines.get(name.strip_suffix('s')?)?;
                Some(lines.iter().map(|line| Json::from(line.as_str())).collect())
            }
            (_, _) => None,
        }
    }
}

fn add_distinct<T: PartialEq>(all: &mut Vec<T>, value: T) {
    if !all.contains(&value) {
        all.push(value);
    }
}

/// The text of a list item, without its bullet or number.
fn list_item(line: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "• "].iter().find_map(|bullet| line.strip_prefix(bullet));
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "));
    bullet.or_else(|| numbered.filter(|_| rest.len() < line.len()))
}

/// The name of a heading, or of a line that ends in a colon.
fn heading(line: &str) -> Option<String> {
    let title = line.trim_start_matches('#');
    if title.len() < line.len() { name_of(title) } else { name_of(line.strip_suffix(':')?) }
}

fn name_of(text: &str) -> Option<String> {
    let name = plain(text);
    (!name.is_empty() && name.chars().count() <= NAME_CHARS_MAX).then(|| normalize(name))
}

/// Removes spaces and emphasis around a text.
fn plain(text: &str) -> &str {
    text.trim().trim_matches(['*', '_', '`']).trim()
}

fn normalize(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}
