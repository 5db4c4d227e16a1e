//! Names of columns: distinct and never empty.

use std::collections::BTreeSet;

use super::findings::Findings;
use crate::tables::note::{Note, preview};

/// Makes the names of the header distinct and non-empty (`column_3`, `revenue_2`), and notes each change.
pub(super) fn distinct_names(raw: &[String], findings: &mut Findings) -> Vec<String> {
    let mut used: BTreeSet<String> = BTreeSet::new();
    let stated: BTreeSet<&str> = raw.iter().map(|name| name.trim()).collect();
    let mut names: Vec<String> = Vec::with_capacity(raw.len());
    for (index, name) in raw.iter().enumerate() {
        let name = name.trim();
        let position = index + 1;
        let base = if name.is_empty() { format!("column_{position}") } else { name.to_owned() };
        let mut unique = base.clone();
        let mut number = 2;
        // A name that the header states elsewhere is not given to another column.
        while used.contains(&unique) || (unique != name && stated.contains(unique.as_str())) {
            unique = format!("{base}_{number}");
            number += 1;
        }
        if name.is_empty() {
            let message = format!("Column {position} has no name in the header; it is called {unique}.");
            findings.note(Note::new(message).in_column(&unique));
        } else if unique != name {
            let message =
                format!("The header names {} more than once; column {position} is called {unique}.", preview(name));
            findings.warn(Note::new(message).in_column(&unique));
        }
        used.insert(unique.clone());
        names.push(unique);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::findings::Findings;
    use super::distinct_names;

    #[test]
    fn column_names_are_made_distinct_and_each_change_is_noted() {
        let raw = ["a", "", "a", "a_2", " b "].map(str::to_owned);
        let mut findings = Findings::default();
        assert_eq!(distinct_names(&raw, &mut findings), ["a", "column_2", "a_3", "a_2", "b"]);
        assert_eq!(findings.notes[0].message, "Column 2 has no name in the header; it is called column_2.");
        assert_eq!(findings.warnings[0].message, "The header names \"a\" more than once; column 3 is called a_3.");
    }
}
