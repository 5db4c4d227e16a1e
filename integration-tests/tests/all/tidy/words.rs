//! Rules about words: names that say nothing, texts that belong to a machine, links that lead away.

use super::syntax;
use super::tree::{File, Problem, Tree};

/// Parts of a file's name that say nothing about what lives in it.
const EMPTY_FILE_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager", "stuff", "base"];
/// Endings of a type's name that say nothing about what it does.
const EMPTY_TYPE_ENDINGS: &[&str] = &["Manager", "Helper", "Helpers", "Util", "Utils", "Impl"];
/// Hosts that a text of ours may name. Packages come through their clients, which know their own.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "api.anthropic.com",
    "api.openai.com",
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
    "opentelemetry.io",
    "rustup.rs",
    "semver.org",
    "www.apache.org",
    "www.openpolicyagent.org",
    "www.rfc-editor.org",
    "www.w3.org",
];

/// Files and types are named by what they hold and do.
pub(super) fn names(tree: &'static Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".rs") {
        let stem = file.name().trim_end_matches(".rs");
        if EMPTY_FILE_NAMES.contains(&stem) {
            problems.push(file.problem(0, format!("a file called `{stem}`"), "name it after what it holds"));
        }
        if !stem.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            problems.push(file.problem(0, format!("`{stem}` as a file's name"), "use snake_case"));
        }
    }
    for (file, facts) in syntax::all(tree) {
        for at in &facts.types {
            if EMPTY_TYPE_ENDINGS.iter().any(|ending| at.what.ends_with(ending)) {
                problems.push(file.problem(at.line, format!("`{}`", at.what), "name it after what it does"));
            }
        }
    }
    problems
}

/// Texts that may stand nowhere, each with what to do. They are put together here so that this file
/// does not hold them itself.
fn forbidden() -> Vec<(String, &'static str)> {
    let of_a_machine = "it is a path of one machine; take it from the environment or from the root of the tree";
    let unfinished = "finish it, or file it";
    vec![
        (["/wo", "rk/"].concat(), of_a_machine),
        (["/ro", "ot/"].concat(), of_a_machine),
        (["/home", "/"].concat(), of_a_machine),
        (["TO", "DO"].concat(), unfinished),
        (["FIX", "ME"].concat(), unfinished),
        (["XX", "X:"].concat(), unfinished),
        (["<<<<", "<<< "].concat(), "a merge was left half done"),
        (["BEGIN PRIVATE", " KEY"].concat(), "a key may never be in the tree"),
    ]
}

/// The tree runs on any machine, and what it says is finished.
pub(super) fn texts(tree: &Tree) -> Vec<Problem> {
    let forbidden = forbidden();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines() {
            for (text, wanted) in forbidden.iter().filter(|(text, _)| line.contains(text)) {
                problems.push(file.problem(number, format!("`{text}`"), *wanted));
            }
        }
    }
    problems
}

/// Generated, recorded or licensed texts, which nobody edits.
fn is_data(file: &File) -> bool {
    let generated = ["Cargo.lock", "LICENSE"].contains(&file.path.as_str());
    generated || file.path.contains("/corpus/") || file.path.ends_with(".csv") || file.path.ends_with(".svg")
}

/// A link leads to a host of the list: a typing error, or a host of somebody's network, stands out.
pub(super) fn hosts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| !is_data(file)) {
        for (number, line) in file.lines() {
            for host in hosts_of(line) {
                if !HOSTS.contains(&host) && !host.ends_with(".example") && !host.ends_with(".invalid") {
                    let wanted = "take it out, or add it to HOSTS in tidy/words.rs if a reader needs it";
                    problems.push(file.problem(number, format!("a link to `{host}`"), wanted));
                }
            }
        }
    }
    problems
}

/// The hosts of the `http://` and `https://` links of a line. A template's braces are no host.
fn hosts_of(line: &str) -> impl Iterator<Item = &str> {
    let after = |scheme: &'static str| line.split(scheme).skip(1);
    after("http://").chain(after("https://")).filter_map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
        rest.get(..end).filter(|host| host.contains('.') || *host == "localhost")
    })
}

/// Every dependency that is not ours comes from crates.io.
pub(super) fn lock_file(tree: &Tree) -> Vec<Problem> {
    let Some(file) = tree.file("Cargo.lock") else {
        return vec![Problem::missing("Cargo.lock", "commit it: a build is repeatable or it is luck")];
    };
    let elsewhere = file.lines().filter(|(_, line)| {
        line.strip_prefix("source = ")
            .is_some_and(|source| source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
    });
    elsewhere.map(|(number, line)| file.problem(number, line, "depend on a release from crates.io")).collect()
}

#[test]
fn a_link_is_read_up_to_its_host() {
    let line = "see https://docs.rs/syn, http://127.0.0.1:9464/metrics and https://{host}/v1";
    assert_eq!(hosts_of(line).collect::<Vec<_>>(), ["127.0.0.1", "docs.rs"]);
}
