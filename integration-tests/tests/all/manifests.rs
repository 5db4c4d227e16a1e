//! Checks the manifests: every declared dependency is used by a source file, and no dependency of the tests
//! makes cargo compile the expensive crates of the product a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::metadata::Metadata;

/// Appends every Rust source below a folder, except those of nested crates.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of the tree can be read").flatten() {
        let path = entry.path();
        let is_own_crate = path.join("Cargo.toml").exists();
        if path.is_dir() && !is_own_crate && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source can be read"));
        }
    }
}

/// True if the text contains the name as a whole word.
fn is_named(name: &str, text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(is_part)
            && !text[at + name.len()..].chars().next().is_some_and(is_part)
    })
}

#[test]
fn every_declared_dependency_is_named_in_the_source() {
    let mut problems = Vec::new();
    for package in Metadata::read(&["--no-deps"]).workspace_packages() {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
        let mut text = String::new();
        sources(folder, &mut text);
        for dependency in &package.dependencies {
            if !is_named(&dependency.name.replace('-', "_"), &text) {
                problems.push(format!("{}: nothing names {}; leave it out", package.name, dependency.name));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_workspace_dependency_is_used_by_a_crate() {
    let metadata = Metadata::read(&["--no-deps"]);
    let used: BTreeSet<&str> =
        metadata.workspace_packages().flat_map(|package| &package.dependencies).map(|one| one.name.as_str()).collect();
    let root = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).expect("it can be read");
    let root: toml::Table = root.parse().expect("it is TOML");
    let declared = root["workspace"]["dependencies"].as_table().expect("a table of dependencies");
    let unused: Vec<_> = declared.keys().filter(|name| !used.contains(name.as_str())).collect();
    assert!(unused.is_empty(), "no crate uses {unused:?} of the root Cargo.toml");
}

/// One line of `cargo tree`: its depth, the package, and the features that it is built with.
struct Line {
    depth: usize,
    package: String,
    features: String,
}

fn tree(options: &[&str]) -> Vec<Line> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix=depth", "--format= {p}|{f}|", "--manifest-path", manifest])
        .args(options)
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let read = |line: &str| {
        let (depth, rest) = line.split_once(' ')?;
        let mut parts = rest.split('|');
        let package = parts.next()?.replace(" (proc-macro)", "");
        Some(Line { depth: depth.parse().ok()?, package, features: parts.next()?.to_owned() })
    };
    text.lines().filter_map(read).collect()
}

/// The package and its transitive dependencies. `cargo tree` prints a subtree once, so the edges are
/// collected first.
fn dependencies_of(lines: &[Line], name: &str) -> BTreeSet<String> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut path: Vec<&str> = Vec::new();
    for line in lines {
        path.truncate(line.depth);
        if let Some(parent) = path.last() {
            edges.entry(parent).or_default().insert(&line.package);
        }
        path.push(&line.package);
    }
    let mut visited = BTreeSet::new();
    let mut pending: Vec<&str> =
        edges.keys().copied().filter(|package| package.split(' ').next() == Some(name)).collect();
    while let Some(package) = pending.pop() {
        if visited.insert(package.to_owned()) {
            pending.extend(edges.get(package).into_iter().flatten());
        }
    }
    visited
}

/// wasmtime takes minutes to build. It is built once for the demo and for the tests, as long as no
/// dependency of only the tests enables a feature of wasmtime's dependencies.
#[test]
fn the_tests_build_wasmtime_with_the_features_of_the_product() {
    let product = tree(&["--package=greenroom-supervisor", "--edges=normal,build"]);
    let tests = tree(&["--workspace", "--edges=normal,build,dev"]);
    let built: BTreeSet<(&str, &str)> = tests.iter().map(|line| (&*line.package, &*line.features)).collect();
    let expensive = dependencies_of(&product, "wasmtime");
    assert!(
        expensive.len() > 50 && expensive.iter().any(|package| package.starts_with("cranelift-codegen ")),
        "{expensive:?}"
    );
    let differ: BTreeSet<(&str, &str)> = product
        .iter()
        .map(|line| (&*line.package, &*line.features))
        .filter(|(package, features)| expensive.contains(*package) && !built.contains(&(package, features)))
        .collect();
    assert!(
        differ.is_empty(),
        "the tests build these with other features than the product, and wasmtime twice: {differ:#?}"
    );
}
