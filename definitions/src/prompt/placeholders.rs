//! Placeholders of other template languages, such as `{document}`: to this one they are text.

/// The roots of references, each of which a placeholder may have.
const ROOTS: &[&str] = &["inputs.", "context.", "agent."];

/// A placeholder of another template language.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placeholder<'t> {
    /// The placeholder as written.
    pub(crate) text: &'t str,
    /// The reference that its author meant.
    pub(crate) reference: String,
    /// Its line in the template, from 1.
    pub(crate) line: usize,
}

/// Finds the placeholders of these inputs, and those that have a root of a reference.
pub(crate) fn find_placeholders<'t>(template: &'t str, inputs: &[&str]) -> Vec<Placeholder<'t>> {
    template.lines().enumerate().flat_map(|(index, line)| find_in_line(line, index + 1, inputs)).collect()
}

fn find_in_line<'t>(line: &'t str, number: usize, inputs: &[&str]) -> Vec<Placeholder<'t>> {
    let found = |text: &'t str, reference: String| Placeholder { text, reference, line: number };
    let mut all = Vec::new();
    for (at, _) in line.match_indices('{') {
        let Some(text) = single_braces(line, at) else { continue };
        let name = text.trim_start_matches(['$', '#', '{']).trim_end_matches('}').trim();
        if inputs.contains(&name) {
            all.push(found(text, format!("inputs.{name}")));
        } else if ROOTS.iter().any(|root| name.strip_prefix(root).is_some_and(is_name)) {
            all.push(found(text, name.to_owned()));
        }
    }
    for name in inputs {
        let forms = [
            format!("%({name})s"),
            format!("%{name}%"),
            format!("<{name}>"),
            format!("[[{name}]]"),
            format!("${name}"),
        ];
        let written = forms.iter().find_map(|form| line.get(line.find(form.as_str())?..)?.get(..form.len()));
        all.extend(written.map(|text| found(text, format!("inputs.{name}"))));
    }
    all
}

/// The text in single braces that begins there, with the `$` or `#` before them; none within `{{ }}` or `{% %}`.
fn single_braces(line: &str, at: usize) -> Option<&str> {
    let (before, after) = line.split_at_checked(at)?;
    let end = after.find('}')? + 1;
    let (text, rest) = after.split_at_checked(end)?;
    let is_single = !before.ends_with('{') && !text.get(1..)?.starts_with(['{', '%', '#']) && !rest.starts_with('}');
    let start = if before.ends_with(['$', '#']) { at - 1 } else { at };
    is_single.then(|| line.get(start..at + end)).flatten()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(template: &str) -> Vec<(String, String, usize)> {
        let all = find_placeholders(template, &["document", "audience"]);
        all.into_iter().map(|one| (one.text.to_owned(), one.reference, one.line)).collect()
    }

    #[test]
    fn placeholders_of_other_languages_are_found() {
        for text in [
            "{document}",
            "{ document }",
            "${document}",
            "#{document}",
            "%(document)s",
            "%document%",
            "<document>",
            "[[document]]",
            "$document",
        ] {
            let template = format!("Summarise\n  this: {text}.");
            assert_eq!(found(&template), [(text.to_owned(), "inputs.document".to_owned(), 2)]);
        }
        assert_eq!(
            found("For {inputs.document} and {agent.name}"),
            [
                ("{inputs.document}".to_owned(), "inputs.document".to_owned(), 1),
                ("{agent.name}".to_owned(), "agent.name".to_owned(), 1),
            ]
        );
    }

    #[test]
    fn references_and_other_braces_are_none() {
        for text in [
            "{{ inputs.document }}",
            "{% if inputs.document %}{% endif %}",
            "{# document #}",
            r#"{"document": {"text": "..."}}"#,
            "{other}",
            "{}",
            "{",
            "the document",
            "{agent}",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }
}
