//! Compares the generated bundle and schema with their sources, without OPA.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use greenroom_rego::Bundle;
use greenroom_rego::bundle::source::source_hash;

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The policies without their tests, and `data.json`.
fn sources() -> BTreeMap<String, Vec<u8>> {
    let policy = crate_dir().join("policy");
    let mut files =
        BTreeMap::from([("data.json".to_owned(), std::fs::read(crate_dir().join("bundle/data.json")).unwrap())]);
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
    let hash = source_hash(&sources()).to_string();
    let written = std::fs::read_to_string(crate_dir().join("bundle/source.sha256")).unwrap();
    assert_eq!(written.trim(), hash, "run `just policy`: the policies have changed since the bundle was compiled");
    assert_eq!(Bundle::embedded().unwrap().revision(), &hash[..12]);
}

#[test]
fn the_bundle_contains_the_data_of_the_tree() {
    let written: serde_json::Value = serde_json::from_slice(&sources()["data.json"]).unwrap();
    assert_eq!(Bundle::embedded().unwrap().data(), &written);
}

#[test]
fn the_schema_matches_the_input() {
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(crate_dir().join("schema/input.json")).unwrap()).unwrap();
    let generated = serde_json::to_value(schemars::schema_for!(greenroom_rego::Input)).unwrap();
    assert_eq!(written, generated, "run `cargo run -p greenroom-rego --bin input_schema > rego/schema/input.json`");
    assert!(!written.to_string().contains("oneOf"), "`opa check` does not type-check through a oneOf");
}
