//! Rules of the workspace that the compiler does not check, each as a test over the files of the tree.
//!
//! A rule is a function from the tree to problems; a problem names file and line, the finding and the
//! remedy. `docs/STYLE.md` gives the reasons. The rules that clippy checks are in `clippy.toml`.

mod cycles;
mod imports;
mod pages;
mod restart_policies;
mod retired;
mod scripts;
mod source;
mod syntax;
pub(crate) mod tree;
mod words;

use tree::{Problem, Tree};

/// Fails with all problems at once, so that one run shows everything to fix.
#[track_caller]
fn expect_none(mut problems: Vec<Problem>) {
    problems.sort();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{} problem(s):\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn no_file_is_longer_than_its_limit() {
    expect_none(source::file_sizes(Tree::get()));
}

#[test]
fn half_of_the_files_are_short() {
    expect_none(source::median_file_size(Tree::get()));
}

#[test]
fn no_files_import_each_other() {
    expect_none(cycles::of_files(Tree::get()));
}

#[test]
fn no_name_has_a_retired_word() {
    expect_none(retired::names(Tree::get()));
}

#[test]
fn functions_fit_on_a_screen() {
    expect_none(source::function_sizes(Tree::get()));
}

#[test]
fn every_source_file_opens_with_a_header() {
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
fn no_import_is_a_glob() {
    expect_none(source::globs(Tree::get()));
}

#[test]
fn tests_are_never_ignored_never_sleep_and_name_a_behaviour() {
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
fn no_local_path_and_no_unfinished_work_is_in_the_tree() {
    expect_none(words::texts(Tree::get()));
}

#[test]
fn links_go_to_known_hosts() {
    expect_none(words::hosts(Tree::get()));
}

#[test]
fn dependencies_come_from_one_registry() {
    expect_none(words::lock_file(Tree::get()));
}

#[test]
fn every_error_code_has_a_page_that_agrees_with_it() {
    expect_none(pages::errors(Tree::get()));
}

#[test]
fn decisions_are_numbered_without_a_gap() {
    expect_none(pages::decisions(Tree::get()));
}

#[test]
fn every_restart_policy_has_a_reader() {
    expect_none(restart_policies::readers(Tree::get()));
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
fn every_script_that_a_document_starts_exists() {
    expect_none(pages::scripts(Tree::get()));
}

#[test]
fn no_script_closes_a_pipe_that_a_command_still_writes_into() {
    expect_none(scripts::closed_pipes(Tree::get()));
}
