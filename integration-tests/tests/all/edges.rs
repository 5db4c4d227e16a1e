//! Allowed dependencies between crates: the table of `docs/ARCHITECTURE.md`, compared with the manifests.
//!
//! A new edge needs a change of this file, so that it is reviewed as a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::metadata::{Dependency, Metadata, Package};

/// Each crate of the workspace with the crates that it may depend on outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("client", &["protocol"]),
    ("definitions", &["protocol"]),
    ("rego", &["protocol"]),
    ("registry", &["protocol", "definitions"]),
    ("actors", &["protocol", "definitions", "rego", "registry"]),
    ("runtimes", &["protocol", "definitions", "registry", "actors"]),
    ("runpod", &["protocol", "client"]),
    ("supervisor", &["protocol", "client", "definitions", "rego", "registry", "actors", "runtimes", "runpod"]),
    (
        "integration-tests",
        &["protocol", "client", "definitions", "rego", "registry", "actors", "runtimes", "runpod", "supervisor"],
    ),
];

/// External crates that only these crates of the workspace may use outside their tests.
const ALLOWED_USERS: &[(&str, &[&str])] = &[
    ("async-nats", &["client", "supervisor"]),
    ("axum", &["runpod"]),
    ("cel", &["definitions"]),
    ("fred", &["registry"]),
    ("genai", &["runtimes"]),
    ("hyper", &["supervisor"]),
    ("jsonwebtoken", &["supervisor"]),
    ("mimalloc", &["supervisor", "integration-tests"]),
    ("object_store", &["registry"]),
    ("opa-wasm", &["rego"]),
    ("qdrant-client", &["registry"]),
    ("ractor", &["actors", "supervisor"]),
    ("ractor_cluster", &["supervisor"]),
    ("reqwest", &["client", "registry", "runpod", "runtimes", "supervisor"]),
    ("ring", &["runpod", "runtimes", "supervisor"]),
    ("rmcp", &["runtimes"]),
    // A query of an agent runs in a database in memory, which is no store.
    ("rusqlite", &["registry", "runtimes"]),
    ("saphyr-parser", &["definitions"]),
    ("sqlx", &["registry"]),
    ("tonic", &["registry"]),
    ("tower-http", &["runpod"]),
    ("utoipa", &["runpod"]),
    ("wasmtime", &["rego", "runtimes"]),
    ("wasmtime-wasi", &["runtimes"]),
    ("wat", &["runtimes"]),
    ("clap", &["supervisor"]),
    ("config", &["supervisor"]),
    ("uuid", &["supervisor"]),
];

/// External crates that these crates of the workspace may not use without a feature that brings them.
const FORBIDDEN_USERS: &[(&str, &[&str])] =
    &[("protocol", &["tokio", "futures"]), ("client", &["tokio"]), ("definitions", &["tokio"])];

/// The feature for tests, which is never enabled in the product.
const TEST_FEATURE: &str = "testing";

fn metadata() -> Metadata {
    Metadata::read(&["--all-features", "--no-deps"])
}

fn short(name: &str) -> Option<&str> {
    name.strip_prefix("greenroom-")
}

#[test]
fn crates_depend_only_on_allowed_crates() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut problems = Vec::new();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let Some(name) = short(&package.name) else {
            problems.push(format!("{}: name it greenroom-…", package.name));
            continue;
        };
        let Some(allowed) = allowed.get(name) else {
            problems.push(format!("{name}: has no row in EDGES; add its allowed dependencies"));
            continue;
        };
        let edges = package.shipped().filter_map(|dependency| short(&dependency.name));
        problems.extend(edges.filter(|to| !allowed.contains(to)).map(|to| {
            format!("{name} → {to}: this edge is not allowed; pass the value through a trait, or move the item to a lower crate")
        }));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_table_names_every_crate_below_before_the_crate_above() {
    let mut below = BTreeSet::new();
    for (name, allowed) in EDGES {
        for edge in *allowed {
            assert!(
                below.contains(edge),
                "{name} → {edge}: rows are in the order of the edges, so that they have no cycle"
            );
        }
        below.insert(*name);
    }
}

/// The folder of the top level in which a crate is.
fn top_folder(package: &Package) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root exists");
    let folder = package.manifest_path.strip_prefix(&root).expect("a crate is below the root");
    folder.iter().next().expect("a manifest is in a folder").to_string_lossy().into_owned()
}

#[test]
fn each_top_level_folder_depends_only_on_the_folders_before_it() {
    let metadata = metadata();
    let folder_of =
        |name: &str| metadata.workspace_packages().find(|package| short(&package.name) == Some(name)).map(top_folder);
    let mut folders: Vec<String> = EDGES.iter().filter_map(|(name, _)| folder_of(name)).collect();
    folders.dedup();
    let distinct: BTreeSet<&String> = folders.iter().collect();
    assert_eq!(distinct.len(), folders.len(), "the crates of one folder are consecutive rows of EDGES: {folders:?}");
    let position = |name: &str| folders.iter().position(|folder| Some(folder) == folder_of(name).as_ref());
    for package in metadata.workspace_packages() {
        for dependency in package.shipped().filter_map(|dependency| short(&dependency.name)) {
            let name = short(&package.name).expect("a crate of the workspace");
            assert!(position(dependency) <= position(name), "{name} → {dependency}: the folder is above");
        }
    }
}

#[test]
fn the_document_has_the_same_table() {
    let text = include_str!("../../../docs/ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## Who may know whom\n").expect("ARCHITECTURE.md has the section");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let in_quotes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let documented: Vec<(String, Vec<String>)> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1);
            Some((in_quotes(cells.next()?).pop()?, in_quotes(cells.next()?)))
        })
        .collect();
    let known: Vec<(String, Vec<String>)> =
        EDGES.iter().map(|(name, to)| ((*name).to_owned(), to.iter().map(|to| (*to).to_owned()).collect())).collect();
    assert_eq!(documented, known, "the table in docs/ARCHITECTURE.md and EDGES differ");
}

#[test]
fn each_external_system_is_used_by_one_crate() {
    let mut problems = Vec::new();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let Some(name) = short(&package.name).filter(|name| *name != "integration-tests") else { continue };
        for dependency in package.shipped() {
            let (dependency, is_optional) = (dependency.name.as_str(), dependency.optional);
            let allowed = ALLOWED_USERS.iter().find(|(external, _)| *external == dependency);
            if let Some((_, users)) = allowed.filter(|(_, users)| !users.contains(&name)) {
                problems.push(format!("{name} uses {dependency}: only {} may", users.join(" and ")));
            }
            let is_forbidden = |(user, external): &(&str, &[&str])| *user == name && external.contains(&dependency);
            if !is_optional && FORBIDDEN_USERS.iter().any(is_forbidden) {
                problems.push(format!("{name} uses {dependency}: it must not depend on it"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn ractor_is_built_with_its_cluster_feature_and_without_defaults() {
    let metadata = metadata();
    let users: Vec<(&str, &Dependency)> = metadata
        .workspace_packages()
        .flat_map(|package| package.dependencies.iter().map(move |dependency| (package.name.as_str(), dependency)))
        .filter(|(_, dependency)| dependency.name == "ractor")
        .collect();
    assert!(!users.is_empty(), "nothing depends on ractor");
    for (name, ractor) in users {
        assert!(!ractor.uses_default_features, "{name}: ractor's default features cost 11 KiB per actor");
        let features: BTreeSet<&str> = ractor.features.iter().map(String::as_str).collect();
        assert_eq!(features, BTreeSet::from(["cluster", "tokio_runtime"]), "{name}: the features of ractor");
    }
}

#[test]
fn the_product_has_no_feature_for_tests() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let defaults = package.features.get("default").map(Vec::as_slice).unwrap_or_default();
        assert!(!defaults.iter().any(|feature| feature == TEST_FEATURE), "{}: {TEST_FEATURE} by default", package.name);
        if package.name == "greenroom-integration-tests" {
            continue;
        }
        for dependency in package.shipped() {
            let found = dependency.features.iter().any(|feature| feature == TEST_FEATURE);
            assert!(!found, "{} → {}: {TEST_FEATURE} would be in the binary", package.name, dependency.name);
        }
    }
}

#[test]
fn every_crate_takes_version_edition_and_lints_from_the_workspace() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("a manifest can be read");
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "license.workspace = true",
            "[lints]\nworkspace = true",
        ] {
            assert!(manifest.contains(line), "{}: write `{line}`", package.manifest_path.display());
        }
    }
}
