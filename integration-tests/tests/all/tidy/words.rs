//! Rules about words: empty names, local paths, unknown link hosts, and the source of dependencies.

use super::syntax;
use super::tree::{File, Problem, Tree};

/// File names that do not describe the content of the file.
const EMPTY_FILE_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager", "stuff", "base"];
/// Suffixes of type names that do not describe the purpose of the type.
const EMPTY_TYPE_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils", "Impl"];
/// Hosts that a text of the tree may link to. Package clients have their own configuration.
const HOSTS: &[&str] = &[
    // An address of RunPod's test harness, in a test of the worker.
    "0.0.0.0",
    "127.0.0.1",
    "api.anthropic.com",
    "api.openai.com",
    "api.runpod.ai",
    "api.runpod.io",
    "cel.dev",
    "docs.astral.sh",
    "docs.aws.amazon.com",
    "docs.rs",
    "doc.rust-lang.org",
    "example.com",
    "example.org",
    "github.com",
    "greenroom.dev",
    "json-schema.org",
    "keepachangelog.com",
    "localhost",
    "schemas.openxmlformats.org",
    "opentelemetry.io",
    "rustup.rs",
    "semver.org",
    "www.apache.org",
    "www.openpolicyagent.org",
    "www.rfc-editor.org",
    "www.w3.org",
];

/// Files and types are named after their content and purpose.
pub(super) fn names(tree: &'static Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".rs") {
        let stem = file.name().trim_end_matches(".rs");
        if EMPTY_FILE_NAMES.contains(&stem) {
            problems.push(file.problem(0, format!("a file called `{stem}`"), "name it after its content"));
        }
        if !stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            problems.push(file.problem(0, format!("`{stem}` as a file's name"), "use snake_case"));
        }
    }
    for (file, facts) in syntax::all(tree) {
        for at in &facts.types {
            if EMPTY_TYPE_ENDINGS.iter().any(|ending| at.found.ends_with(ending)) {
                problems.push(file.problem(at.line, format!("`{}`", at.found), "name it after its purpose"));
            }
        }
    }
    problems
}

/// Forbidden texts with their remedies. They are concatenated here so that this file does not contain them.
fn forbidden() -> Vec<(String, &'static str)> {
    let local_path = "a path of one machine; take it from the environment or from the root of the tree";
    let unfinished = "finish it, or file an issue";
    vec![
        (["/wo", "rk/"].concat(), local_path),
        (["/ro", "ot/"].concat(), local_path),
        (["/home", "/"].concat(), local_path),
        (["TO", "DO"].concat(), unfinished),
        (["FIX", "ME"].concat(), unfinished),
        (["XX", "X:"].concat(), unfinished),
        (["<<<<", "<<< "].concat(), "resolve the merge conflict"),
        (["BEGIN PRIVATE", " KEY"].concat(), "remove the key; the tree must not contain one"),
    ]
}

/// True if a line contains a text that does not continue a word: iCalendar has components whose names end with such a text.
fn contains_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(start, _)| !line[..start].ends_with(|before: char| before.is_ascii_uppercase()))
}

/// No file has a path of one machine or unfinished work.
pub(super) fn texts(tree: &Tree) -> Vec<Problem> {
    let forbidden = forbidden();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines() {
            for (text, wanted) in forbidden.iter().filter(|(text, _)| contains_word(line, text)) {
                problems.push(file.problem(number, format!("`{text}`"), *wanted));
            }
        }
    }
    problems
}

/// True for generated, recorded and licensed texts, which are not edited, for the keys of tests, which sign nothing that
/// others accept, and for the agents and the sample inputs of the catalogue, which are the material of other trades: code to
/// finish, addresses of attackers.
fn is_data(file: &File) -> bool {
    let generated = ["Cargo.lock", "LICENSE"].contains(&file.path.as_str());
    generated
        || file.path.starts_with("catalogue/agents/")
        || file.path.starts_with("catalogue/samples/")
        || file.path.starts_with("definitions/compiled/")
        || file.path.starts_with("supervisor/tests/keys/")
        || file.path.contains("/corpus/")
        // The keys of tests, which sign nothing else.
        || file.path.starts_with("supervisor/tests/keys/")
        || file.path.ends_with(".csv")
        || file.path.ends_with(".svg")
}

/// Every link goes to a host of the list, so that a typing error or a private host is found.
pub(super) fn hosts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines() {
            for host in hosts_of(line) {
                if !HOSTS.contains(&host) && !host.ends_with(".example") && !host.ends_with(".invalid") {
                    let wanted = "remove it, or add it to HOSTS in tidy/words.rs if a reader needs it";
                    problems.push(file.problem(number, format!("a link to `{host}`"), wanted));
                }
            }
        }
    }
    problems
}

/// The hosts of the `http://` and `https://` links of a line; a template in braces is not a host.
fn hosts_of(line: &str) -> impl Iterator<Item = &str> {
    let after = |scheme: &'static str| line.split(scheme).skip(1);
    after("http://").chain(after("https://")).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
        rest.get(..end).filter(|host| host.contains('.') || *host == "localhost")
    })
}

/// Every external dependency comes from crates.io.
pub(super) fn lock_file(tree: &Tree) -> Vec<Problem> {
    let Some(file) = tree.file("Cargo.lock") else {
        return vec![Problem::missing("Cargo.lock", "commit it, so that builds are reproducible")];
    };
    let elsewhere = file.lines().filter(|(_, line)| {
        line.strip_prefix("source = ")
            .is_some_and(|source| source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
    });
    elsewhere.map(|(number, line)| file.problem(number, line, "depend on a release from crates.io")).collect()
}

#[test]
fn the_hosts_of_links_are_read() {
    let line = "see https://docs.rs/syn, http://127.0.0.1:9464/metrics and https://{host}/v1";
    assert_eq!(hosts_of(line).collect::<Vec<_>>(), ["127.0.0.1", "docs.rs"]);
}
