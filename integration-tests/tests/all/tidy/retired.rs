//! Retired words are not used in names: of types, functions, fields, modules, settings and log fields.
//!
//! `docs/STYLE.md` has the vocabulary. Comments and strings are not read here. A name is split into its
//! words (`take_place` and `PlaceError` contain `place`); the table lists the words, and the contexts in
//! which one has its technical meaning.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Ident, TokenStream, TokenTree};

use super::syntax;
use super::tree::{File, Problem, Tree};
use table::{CONTEXTS, Context, PHRASES, TYPES, WHOLE_NAMES, WORDS};

/// The page whose table lists every setting with its environment variables.
const SETTINGS_PAGE: &str = "docs/configuration.md";

/// Every name with a retired word, once per file; and every context that no name needs.
pub(super) fn names(tree: &'static Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for file in tree.ending(".rs").filter(|file| !syntax::is_sample(&file.path)) {
        let text = file.text.as_deref().unwrap_or_default();
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.path));
        let mut names = BTreeMap::from([(file.name().trim_end_matches(".rs").to_owned(), 0)]);
        // Log fields are identifiers in the tokens of tracing's macros, so they are checked as well.
        visit(tokens, &mut |ident| {
            names.entry(ident.to_string()).or_insert_with(|| ident.span().start().line);
        });
        for (name, line) in names {
            used.extend(contexts_of(&file.path, &name));
            problems.extend(check(file, line, &name));
        }
    }
    for (_, context) in CONTEXTS.iter().enumerate().filter(|(index, _)| !used.contains(index)) {
        let found = format!("no name in `{}` needs `{}` ({})", context.path, context.word, context.reason);
        problems.push(Problem::in_tree(found, "remove its row from CONTEXTS"));
    }
    problems.extend(settings(tree));
    problems
}

/// The rows of `CONTEXTS` that a name of this file needs.
fn contexts_of(path: &str, name: &str) -> Vec<usize> {
    let words = words_of(name);
    let is_needed = |context: &Context| {
        let has_word = context.word == name || words.iter().any(|word| word == context.word);
        has_word && path.starts_with(context.path) && (context.names.is_empty() || context.names.contains(&name))
    };
    CONTEXTS.iter().enumerate().filter(|(_, context)| is_needed(context)).map(|(index, _)| index).collect()
}

fn visit(tokens: TokenStream, on_ident: &mut impl FnMut(&Ident)) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => on_ident(&ident),
            TokenTree::Group(group) => visit(group.stream(), on_ident),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn check(file: &File, line: usize, name: &str) -> Option<Problem> {
    let (word, instead) = retired_word(&file.path, name)?;
    let found = format!("`{name}`, where `{word}` is retired");
    Some(file.problem(line, found, format!("use instead: {instead}; docs/STYLE.md has the vocabulary")))
}

/// The retired word of a name, with its replacement.
fn retired_word(path: &str, name: &str) -> Option<(String, &'static str)> {
    let is_right = |word: &str| contexts_of(path, name).iter().any(|index| CONTEXTS[*index].word == word);
    let name = name.trim_start_matches("r#");
    if TYPES.contains(&name) && !is_right(name) {
        return Some((name.to_owned(), "the type's new name"));
    }
    let words = words_of(name);
    let joined = format!("_{}_", words.join("_"));
    let word = WORDS.iter().find(|(word, _)| words.iter().any(|part| part == word) && !is_right(word));
    let phrase = || PHRASES.iter().find(|(phrase, _)| joined.contains(&format!("_{phrase}_")));
    let whole = || WHOLE_NAMES.iter().find(|(whole, _)| *whole == name && !is_right(whole));
    word.or_else(phrase).or_else(whole).map(|(word, instead)| ((*word).to_owned(), *instead))
}

/// The words of a name in snake_case, CamelCase or capitals, in lower case.
fn words_of(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in name.split('_').filter(|part| !part.is_empty()) {
        let is_capitals = !part.contains(|c: char| c.is_ascii_lowercase());
        let mut word = String::new();
        for c in part.chars() {
            if c.is_ascii_uppercase() && !is_capitals && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            word.push(c.to_ascii_lowercase());
        }
        words.push(word);
    }
    words
}

/// Settings and environment variables with a retired word.
fn settings(tree: &Tree) -> Vec<Problem> {
    let Some(page) = tree.file(SETTINGS_PAGE) else {
        return vec![Problem::missing(SETTINGS_PAGE, "write it: it lists every setting")];
    };
    let mut problems = Vec::new();
    for (number, line) in page.lines().filter(|(_, line)| line.starts_with("| `")) {
        let cells = line.split('|').skip(1).take(2);
        for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
            problems.extend(check(page, number, &name.replace('.', "_")));
        }
    }
    problems
}

#[test]
fn retired_words_are_found_as_whole_words_of_a_name() {
    let found = |name: &str| retired_word("supervisor/src/x.rs", name).map(|(word, _)| word);
    assert_eq!(found("take_place"), Some("place".into()));
    assert_eq!(found("PlaceError"), Some("place".into()));
    assert_eq!(found("GATE_PLACES"), Some("places".into()));
    assert_eq!(found("policy_in_force"), Some("in_force".into()));
    assert_eq!(found("Treasury"), Some("Treasury".into()));
    assert_eq!(found("why"), Some("why".into()));
    for name in ["replace", "max_turns", "placement", "why_not", "OnceLock", "displayed"] {
        assert_eq!(found(name), None, "{name}");
    }
}
