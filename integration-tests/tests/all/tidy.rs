//! The rules of the house that a compiler cannot see, each as a test over the files of the tree.
//!
//! A rule is a function from the tree to problems; a problem names file and line, what was found and
//! what to do. `docs/STYLE.md` gives the reasons. Rules that clippy knows live in `clippy.toml`.

mod pages;
mod source;
mod syntax;
pub(crate) mod tree;
mod words;

use tree::{Problem, Tree};

/// Fails with every problem at once, so that one run shows all there is to do.
#[track_caller]
fn expect_none(mut problems: Vec<Problem>) {
    problems.sort();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{} problem(s):\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn files_are_short_enough_to_be_read_at_once() {
    expect_none(source::file_sizes(Tree::get()));
}

#[test]
fn functions_fit_on_a_screen() {
    expect_none(source::function_sizes(Tree::get()));
}

#[test]
fn every_source_file_says_what_lives_in_it() {
    expect_none(source::headers(Tree::get()));
}

#[test]
fn a_module_is_named_by_its_file() {
    expect_none(source::module_files(Tree::get()));
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    expect_none(source::lint_attributes(Tree::get()));
}

#[test]
fn imports_name_what_they_import() {
    expect_none(source::globs(Tree::get()));
}

#[test]
fn tests_run_always_wait_on_predicates_and_say_the_behaviour() {
    expect_none(source::tests(Tree::get()));
}

#[test]
fn long_inline_tests_move_to_a_sibling_file() {
    expect_none(source::inline_tests(Tree::get()));
}

#[test]
fn nothing_is_called_manager_or_utils() {
    expect_none(words::names(Tree::get()));
}

#[test]
fn no_path_of_a_machine_and_no_unfinished_work_is_in_the_tree() {
    expect_none(words::texts(Tree::get()));
}

#[test]
fn links_lead_to_known_hosts() {
    expect_none(words::hosts(Tree::get()));
}

#[test]
fn dependencies_come_from_one_place() {
    expect_none(words::lock_file(Tree::get()));
}

#[test]
fn every_error_code_has_its_page_and_the_page_is_right() {
    expect_none(pages::errors(Tree::get()));
}

#[test]
fn decisions_are_numbered_without_a_gap() {
    expect_none(pages::decisions(Tree::get()));
}

#[test]
fn documents_name_files_that_exist() {
    expect_none(pages::links(Tree::get()));
}

#[test]
fn every_policy_has_its_tests() {
    expect_none(pages::policies(Tree::get()));
}

#[test]
fn what_the_readme_starts_can_be_started() {
    expect_none(pages::scripts(Tree::get()));
}
