//! Rules about Rust files: their size, their shape, their lints and their tests.

use super::syntax;
use super::tree::{Problem, Tree};

/// Maximum lines of a file.
const FILE_LINES_MAX: usize = 400;
/// Maximum of the median of the lines of all Rust files.
const FILE_LINES_MEDIAN_MAX: usize = 140;
/// Maximum lines of a function, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Maximum lines of a test module inside the file that it tests.
const INLINE_TEST_LINES_MAX: usize = 100;
/// Files that may be longer, each with its reason. Splitting a file is nearly always better.
const LONG_FILES: &[(&str, &str)] = &[];

/// A source file of any language is at most [`FILE_LINES_MAX`] lines long.
pub(super) fn file_sizes(tree: &Tree) -> Vec<Problem> {
    let endings = [".rs", ".rego", ".sh", ".sql", ".py"];
    let mut problems = Vec::new();
    for file in &tree.files {
        let is_script = file.path.starts_with("scripts/");
        if !is_script && !endings.iter().any(|ending| file.path.ends_with(ending)) {
            continue;
        }
        let lines = file.lines().count();
        if lines > FILE_LINES_MAX && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
            let found = format!("{lines} lines, at most {FILE_LINES_MAX}");
            problems.push(file.problem(0, found, "cut it by verb: each command, stage or step its own file"));
        }
    }
    for (path, _) in LONG_FILES {
        if tree.file(path).is_none_or(|file| file.lines().count() <= FILE_LINES_MAX) {
            problems.push(Problem::missing(*path, "remove its row from LONG_FILES, the file is short enough"));
        }
    }
    problems
}

/// Half of the Rust files are at most [`FILE_LINES_MEDIAN_MAX`] lines long.
pub(super) fn median_file_size(tree: &Tree) -> Vec<Problem> {
    let files = tree.ending(".rs").filter(|file| !syntax::is_sample(&file.path));
    let mut lengths: Vec<usize> = files.map(|file| file.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or_default();
    let found = format!("a median of {median} lines per file, at most {FILE_LINES_MEDIAN_MAX}");
    let is_long = median > FILE_LINES_MEDIAN_MAX;
    is_long.then(|| Problem::in_tree(found, "split the longest files by verb")).into_iter().collect()
}

/// A function is at most [`FUNCTION_LINES_MAX`] lines long.
pub(super) fn function_sizes(tree: &'static Tree) -> Vec<Problem> {
    let long = syntax::all(tree).iter().flat_map(|(file, facts)| {
        facts.functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX).map(move |function| {
            let found = format!("`{}` has {} lines, at most {FUNCTION_LINES_MAX}", function.name, function.lines);
            file.problem(function.line, found, "extract named functions")
        })
    });
    long.collect()
}

/// Every Rust file opens with `//!`.
pub(super) fn headers(tree: &Tree) -> Vec<Problem> {
    let bare = tree.ending(".rs").filter(|file| !syntax::is_sample(&file.path)).filter(|file| {
        let first = file.lines().next().map(|(_, line)| line).unwrap_or_default();
        first.strip_prefix("//! ").is_none_or(|text| text.trim().is_empty())
    });
    bare.map(|file| file.problem(1, "no `//!` header", "open with a sentence that describes the content of the file"))
        .collect()
}

/// A module with children is `x.rs` beside `x/`, so that an editor's tabs have distinct names.
pub(super) fn module_files(tree: &Tree) -> Vec<Problem> {
    tree.ending("/mod.rs")
        .map(|file| file.problem(0, "a `mod.rs`", "name it after its folder and move it beside the folder"))
        .collect()
}

/// The compiler reports an `#[expect(…, reason = "…")]` that is no longer needed, but never an `#[allow]`.
pub(super) fn lint_attributes(tree: &'static Tree) -> Vec<Problem> {
    let wanted = "write `#[expect(…, reason = \"…\")]`";
    let found = syntax::all(tree)
        .iter()
        .flat_map(|(file, facts)| facts.lints.iter().map(move |at| file.problem(at.line, at.found.clone(), wanted)));
    found.collect()
}

/// A glob import hides the origin of a name, and ractor's shadows the crate `registry`.
pub(super) fn globs(tree: &'static Tree) -> Vec<Problem> {
    let found = syntax::all(tree).iter().flat_map(|(file, facts)| {
        facts.globs.iter().map(move |at| file.problem(at.line, format!("`use {}`", at.found), "import items by name"))
    });
    found.collect()
}

/// A test is never ignored, waits for a condition with a bound, and is named after a behaviour.
pub(super) fn tests(tree: &'static Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (file, facts) in syntax::all(tree) {
        for at in &facts.ignored {
            problems.push(file.problem(at.line, at.found.clone(), "enable it, or remove it"));
        }
        for at in &facts.sleeps {
            let wanted = "wait for a condition with a bound, or pause tokio's clock";
            problems.push(file.problem(at.line, format!("`{}` in a test", at.found), wanted));
        }
        for function in facts.functions.iter().filter(|function| function.is_test) {
            if function.name.starts_with("test_") {
                let found = format!("`{}`", function.name);
                problems.push(file.problem(function.line, found, "name the behaviour; `#[test]` already marks a test"));
            }
        }
    }
    problems
}

/// Tests over [`INLINE_TEST_LINES_MAX`] lines are in `x/tests.rs`.
pub(super) fn inline_tests(tree: &'static Tree) -> Vec<Problem> {
    let long = syntax::all(tree).iter().flat_map(|(file, facts)| {
        facts.inline_tests.iter().filter(|(_, lines)| *lines > INLINE_TEST_LINES_MAX).map(move |(line, lines)| {
            let folder = file.path.trim_end_matches(".rs");
            let found = format!("{lines} lines of inline tests, at most {INLINE_TEST_LINES_MAX}");
            file.problem(*line, found, format!("write `mod tests;` and move them to {folder}/tests.rs"))
        })
    });
    long.collect()
}
