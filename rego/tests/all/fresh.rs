//! What is generated is what its sources say, found without OPA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use greenroom_rego::Bundle;
use greenroom_rego::bundle::source::source_hash;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The policies without their tests, and the data.
fn sources() -> BTreeMap<String, Vec<u8>> {
    let policy = folder().join("policy");
    let mut files =
        BTreeMap::from([("data.json".to_owned(), std::fs::read(folder().join("bundle/data.json")).unwrap())]);
    let mut folders = vec![policy.clone()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !is_test(&path) {
                let name = path.strip_prefix(&policy).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_test"))
}

#[test]
fn the_bundle_was_compiled_from_these_sources() {
    let found = source_hash(&sources()).to_string();
    let written = std::fs::read_to_string(folder().join("bundle/source.sha256")).unwrap();
    assert_eq!(written.trim(), found, "run `just policy`: the policies have changed since the bundle was compiled");
    assert_eq!(Bundle::embedded().unwrap().revision(), &found[..12]);
}

#[test]
fn the_bundle_holds_the_data_of_the_tree() {
    let written: serde_json::Value = serde_json::from_slice(&sources()["data.json"]).unwrap();
    assert_eq!(Bundle::embedded().unwrap().data(), &written);
}

#[test]
fn the_schema_is_that_of_the_input() {
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder().join("schema/input.json")).unwrap()).unwrap();
    let found = serde_json::to_value(schemars::schema_for!(greenroom_rego::Input)).unwrap();
    assert_eq!(written, found, "run `cargo run -p greenroom-rego --bin input_schema > rego/schema/input.json`");
    assert!(!written.to_string().contains("oneOf"), "`opa check` does not look into a oneOf");
}
