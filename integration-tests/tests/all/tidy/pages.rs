//! Rules about everything beside the code: error pages, decisions, documents, policies, scripts.

use std::collections::BTreeSet;

use greenroom_protocol::ErrorCode;

use super::tree::{File, Problem, Tree};

const ERROR_PAGES: &str = "docs/errors/";
const DECISIONS: &str = "docs/adr/";

/// The second paragraph of a code's page, which follows from the code.
fn facts_of(code: ErrorCode) -> String {
    let repeated = if code.is_retryable() { "may succeed later" } else { "will fail again" };
    format!(
        "Exit code {}, HTTP status {}. The same request, unchanged, {repeated}.",
        code.exit_code(),
        code.http_status()
    )
}

/// Each code has a page, each page has a code, and the two agree.
pub(super) fn errors(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for code in ErrorCode::ALL {
        let path = format!("{ERROR_PAGES}{code}.md");
        let Some(file) = tree.file(&path) else {
            problems.push(Problem::missing(path, "write the sections `What happened` and `What to do`"));
            continue;
        };
        let text = file.text.as_deref().unwrap_or_default();
        let opening = format!("# {code}\n\n{}\n", facts_of(*code));
        if !text.starts_with(&opening) {
            problems.push(file.problem(
                1,
                "the opening does not agree with the code",
                format!("open with {opening:?}"),
            ));
        }
        for section in ["\n## What happened\n", "\n## What to do\n"] {
            if !text.contains(section) {
                problems.push(file.problem(0, format!("no section `{}`", section.trim()), "add it"));
            }
        }
    }
    let known: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| format!("{ERROR_PAGES}{code}.md")).collect();
    let stray = tree.below(ERROR_PAGES).filter(|file| file.name() != "README.md" && !known.contains(&file.path));
    problems.extend(stray.map(|file| file.problem(0, "a page without a code", "remove it, or rename it to its code")));
    problems
}

/// `docs/adr/NNNN-slug.md`, from 0001 without a gap, each opening with its number and title.
pub(super) fn decisions(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let files = tree.below(DECISIONS).filter(|file| file.name() != "README.md");
    for (expected, file) in (1_usize..).zip(files) {
        let number = format!("{expected:04}");
        if !file.name().starts_with(&format!("{number}-")) {
            problems.push(file.problem(0, "a duplicate number or a gap", format!("call it {number}-….md")));
        } else if !file.text.as_deref().unwrap_or_default().starts_with(&format!("# {number}: ")) {
            problems.push(file.problem(
                1,
                "a title that differs from the file's name",
                format!("open with `# {number}: `"),
            ));
        }
    }
    problems
}

/// The target of a link and a path in back-quotes exist in the tree.
pub(super) fn links(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let documents = tree.ending(".md").filter(|file| !file.path.contains("/corpus/"));
    for file in documents {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut in_block = false;
        for (number, line) in file.lines() {
            in_block ^= line.trim_start().starts_with("```");
            if in_block {
                continue;
            }
            for target in links_of(line).filter(|target| !exists(tree, folder, target)) {
                problems.push(file.problem(
                    number,
                    format!("a link to `{target}`, which does not exist"),
                    "correct it",
                ));
            }
            for path in paths_of(line).filter(|path| !exists(tree, "", path)) {
                problems.push(file.problem(number, format!("`{path}` does not exist"), "correct it"));
            }
        }
    }
    problems
}

/// The targets of `[text](target)` links to files.
fn links_of(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
}

/// Texts in back-quotes that look like paths of files of the tree.
fn paths_of(line: &str) -> impl Iterator<Item = &str> {
    const ENDINGS: [&str; 8] = [".rs", ".rego", ".yaml", ".toml", ".md", ".sql", ".json", ".csv"];
    line.split('`').skip(1).step_by(2).filter(|text| {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
        let inside = text.contains('/') && !text.starts_with(['/', '.']) && !text.starts_with("x/");
        plain && inside && ENDINGS.iter().any(|ending| text.ends_with(ending))
    })
}

fn exists(tree: &Tree, folder: &str, target: &str) -> bool {
    tree.root.join(folder).join(target).exists()
}

/// Every `x.rego` has its tests in `x_test.rego` beside it.
pub(super) fn policies(tree: &Tree) -> Vec<Problem> {
    let untested = tree.below("rego/policy/").filter(|file| file.path.ends_with(".rego")).filter(|file| {
        let stem = file.path.trim_end_matches(".rego");
        !stem.ends_with("_test") && tree.file(&format!("{stem}_test.rego")).is_none()
    });
    untested
        .map(|file| file.problem(0, "a policy without tests", "write x_test.rego beside it, with an allow and a deny"))
        .collect()
}

/// The scripts exist, are executable and stop at the first error.
pub(super) fn scripts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for starter in ["README.md", "justfile", ".ci/run", ".github/workflows/ci.yml"] {
        let Some(file) = tree.file(starter) else {
            problems.push(Problem::missing(starter, "write it: it starts the scripts that developers and CI use"));
            continue;
        };
        for (number, line) in file.lines() {
            for script in scripts_of(line).filter(|script| tree.file(script).is_none()) {
                problems.push(file.problem(
                    number,
                    format!("`{script}` does not exist"),
                    "write it, or remove the reference",
                ));
            }
        }
    }
    let scripts = tree.files.iter().filter(|file| file.path.starts_with("scripts/") || file.path == ".ci/run");
    // A file without `#!` is sourced by other scripts.
    for file in scripts.filter(|file| file.lines().next().is_some_and(|(_, line)| line.starts_with("#!"))) {
        if !is_executable(tree, file) {
            problems.push(file.problem(0, "not executable", "chmod +x it"));
        }
        let mut lines = file.lines().map(|(_, line)| line);
        let is_bash = lines.next().is_some_and(|line| line == "#!/usr/bin/env bash");
        if is_bash && !lines.any(|line| line == "set -euo pipefail") {
            problems.push(file.problem(0, "continues after an error", "write `set -euo pipefail` below its header"));
        }
    }
    problems
}

/// The scripts that a line starts.
fn scripts_of(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().map(|word| word.trim_matches(|c| matches!(c, '`' | ',' | '.' | ';'))).filter(|word| {
        word.strip_prefix("scripts/")
            .is_some_and(|name| name.chars().all(|c| c.is_ascii_lowercase()) && !name.is_empty())
    })
}

#[cfg(unix)]
fn is_executable(tree: &Tree, file: &File) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(tree.root.join(&file.path)).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_tree: &Tree, _file: &File) -> bool {
    true
}
