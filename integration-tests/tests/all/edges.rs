//! Which crate may know which: the table of `docs/ARCHITECTURE.md`, compared with the manifests.
//!
//! A new edge is a line of this file, and so a decision that somebody reviews.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::{Dependency, Metadata};

/// Each crate of ours with those that it may depend on outside its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("client", &["protocol"]),
    ("definitions", &["protocol"]),
    ("rego", &["protocol"]),
    ("registry", &["protocol", "definitions"]),
    ("actors", &["protocol", "definitions", "rego", "registry"]),
    ("runtimes", &["protocol", "definitions", "registry", "actors"]),
    ("supervisor", &["protocol", "client", "definitions", "rego", "registry", "actors", "runtimes"]),
    (
        "integration-tests",
        &["protocol", "client", "definitions", "rego", "registry", "actors", "runtimes", "supervisor"],
    ),
];

/// Crates of others that only these of ours may use outside their tests.
const ALLOWED_USERS: &[(&str, &[&str])] = &[
    ("async-nats", &["supervisor"]),
    ("cel", &["definitions"]),
    ("fred", &["registry"]),
    ("genai", &["runtimes"]),
    ("mimalloc", &["supervisor", "integration-tests"]),
    ("opa-wasm", &["rego"]),
    ("ractor", &["actors", "supervisor"]),
    ("ractor_cluster", &["supervisor"]),
    ("reqwest", &["runtimes"]),
    ("rusqlite", &["registry"]),
    ("saphyr-parser", &["definitions"]),
    ("sqlx", &["registry"]),
    ("wasmtime", &["rego"]),
    ("clap", &["supervisor"]),
    ("config", &["supervisor"]),
    ("uuid", &["supervisor"]),
];

/// Crates of others that these of ours may not use even so.
const FORBIDDEN_USERS: &[(&str, &[&str])] =
    &[("protocol", &["tokio", "futures"]), ("client", &["tokio"]), ("definitions", &["tokio"])];

/// A feature that exists for tests is never on in what ships.
const TEST_FEATURE: &str = "testing";

fn metadata() -> Metadata {
    Metadata::read(&["--all-features", "--no-deps"])
}

fn short(name: &str) -> Option<&str> {
    name.strip_prefix("greenroom-")
}

#[test]
fn our_crates_depend_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut problems = Vec::new();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let Some(name) = short(&package.name) else {
            problems.push(format!("{}: call it greenroom-…", package.name));
            continue;
        };
        let Some(allowed) = allowed.get(name) else {
            problems.push(format!("{name}: has no row in EDGES; say what it may depend on"));
            continue;
        };
        let edges = package.shipped().filter_map(|dependency| short(&dependency.name));
        problems.extend(edges.filter(|to| !allowed.contains(to)).map(|to| {
            format!("{name} → {to}: this edge is not allowed; hand the thing in through a trait, or move it down")
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
                "{name} → {edge}: rows stand in the order of the edges, so that no cycle can"
            );
        }
        below.insert(*name);
    }
}

#[test]
fn the_document_shows_the_same_table() {
    let text = include_str!("../../../docs/ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## Who may know whom\n").expect("ARCHITECTURE.md has the section");
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let in_quotes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let shown: Vec<(String, Vec<String>)> = rows
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| {
            let mut cells = line.split('|').skip(1);
            Some((in_quotes(cells.next()?).pop()?, in_quotes(cells.next()?)))
        })
        .collect();
    let known: Vec<(String, Vec<String>)> =
        EDGES.iter().map(|(name, to)| ((*name).to_owned(), to.iter().map(|to| (*to).to_owned()).collect())).collect();
    assert_eq!(shown, known, "the table in docs/ARCHITECTURE.md and EDGES differ");
}

#[test]
fn each_outside_world_is_known_to_one_crate() {
    let mut problems = Vec::new();
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let Some(name) = short(&package.name).filter(|name| *name != "integration-tests") else { continue };
        for dependency in package.shipped().map(|dependency| dependency.name.as_str()) {
            let kept = ALLOWED_USERS.iter().find(|(what, _)| *what == dependency);
            if let Some((_, keepers)) = kept.filter(|(_, keepers)| !keepers.contains(&name)) {
                problems.push(format!("{name} uses {dependency}: only {} may", keepers.join(" and ")));
            }
            if FORBIDDEN_USERS.iter().any(|(who, what)| *who == name && what.contains(&dependency)) {
                problems.push(format!("{name} uses {dependency}: it must not know it"));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn ractor_is_built_for_a_cluster_from_the_first_commit() {
    let metadata = metadata();
    let users: Vec<(&str, &Dependency)> = metadata
        .workspace_packages()
        .flat_map(|package| package.dependencies.iter().map(move |dependency| (package.name.as_str(), dependency)))
        .filter(|(_, dependency)| dependency.name == "ractor")
        .collect();
    assert!(!users.is_empty(), "nothing depends on ractor");
    for (name, ractor) in users {
        assert!(!ractor.uses_default_features, "{name}: ractor's default features cost 11 KiB an actor");
        let features: BTreeSet<&str> = ractor.features.iter().map(String::as_str).collect();
        assert_eq!(features, BTreeSet::from(["cluster", "tokio_runtime"]), "{name}: the features of ractor");
    }
}

#[test]
fn what_ships_has_no_feature_of_the_tests() {
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
