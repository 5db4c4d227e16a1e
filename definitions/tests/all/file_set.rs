//! Files in memory are loaded and checked as the same files in a folder are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use greenroom_definitions::loader::is_source_file;
use greenroom_definitions::{FileSet, LoadOutcome, Source, load};

use crate::folder::{Folder, agent, known_names};

/// The files of a test, with the name of a bucket.
fn load_files(files: &[(&str, &str)]) -> LoadOutcome {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), Arc::<[u8]>::from(text.as_bytes())));
    let set = FileSet { name: PathBuf::from("s3://ai-agents/definitions"), files: files.collect() };
    load(&Source::Files(set), &known_names())
}

#[test]
fn files_in_memory_are_what_the_same_files_in_a_folder_are() {
    let (x, broken) = (agent("x"), agent("y").replace("category:", "categori:"));
    let files = [("agents/business_ops/x.yaml", x.as_str()), ("agents/y.yaml", broken.as_str())];
    let folder = files.iter().fold(Folder::new(), |folder, (name, text)| folder.with(name, text));
    let (in_folder, in_memory) = (folder.load(), load_files(&files));
    assert_eq!(in_memory.report, in_folder.report);
    assert!(in_memory.report.has_errors());
    assert_eq!(in_memory.catalogue.unwrap().hash(), in_folder.catalogue.unwrap().hash());
}

#[test]
fn files_that_a_folder_would_not_read_are_not_read_either() {
    let x = agent("x");
    let loaded = load_files(&[
        ("agents/x.yaml", x.as_str()),
        ("agents/.x.yaml.swp", "an editor's"),
        ("agents/.hidden/x.yaml", x.as_str()),
        ("schema/agent.json", "{}"),
        ("README.md", "not a definition"),
    ]);
    assert_eq!((loaded.report.files, loaded.report.has_errors()), (1, false), "{}", loaded.report);
    assert!(is_source_file(Path::new("agents/schema/x.yaml")), "only a folder beside the definitions is generated");
    let deep = load_files(&[("agents/a/b/c/x.yaml", x.as_str())]);
    assert!(deep.report.to_string().contains("too_deep"), "{}", deep.report);
}

#[test]
fn a_source_without_definitions_is_a_problem_of_the_source() {
    let loaded = load(
        &Source::Files(FileSet { name: PathBuf::from("s3://ai-agents/definitions"), files: BTreeMap::new() }),
        &known_names(),
    );
    assert!(loaded.catalogue.is_none());
    assert!(loaded.report.to_string().contains("s3://ai-agents/definitions"), "{}", loaded.report);
}
