//! What the manifests declare: nothing that no source names, and nothing in the tests that would make
//! the expensive crates of the product be compiled a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::metadata::Metadata;

/// Every Rust source below a folder, but for those of the crates inside of it.
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

/// True if the name stands in the text by itself.
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
fn what_the_workspace_offers_is_taken_by_a_crate() {
    let metadata = Metadata::read(&["--no-deps"]);
    let taken: BTreeSet<&str> =
        metadata.workspace_packages().flat_map(|package| &package.dependencies).map(|one| one.name.as_str()).collect();
    let root = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).expect("it can be read");
    let root: toml::Table = root.parse().expect("it is TOML");
    let offered = root["workspace"]["dependencies"].as_table().expect("a table of dependencies");
    let left: Vec<_> = offered.keys().filter(|name| !taken.contains(name.as_str())).collect();
    assert!(left.is_empty(), "no crate takes {left:?} from the root Cargo.toml");
}

/// One line of `cargo tree`: how deep it stands, the package, and the features that it is built with.
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

/// The packages that this one stands on, and itself. A subtree is printed once, so the edges are
/// gathered first.
fn below(lines: &[Line], name: &str) -> BTreeSet<String> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut path: Vec<&str> = Vec::new();
    for line in lines {
        path.truncate(line.depth);
        if let Some(parent) = path.last() {
            edges.entry(parent).or_default().insert(&line.package);
        }
        path.push(&line.package);
    }
    let mut found = BTreeSet::new();
    let mut left: Vec<&str> = edges.keys().copied().filter(|package| package.split(' ').next() == Some(name)).collect();
    while let Some(package) = left.pop() {
        if found.insert(package.to_owned()) {
            left.extend(edges.get(package).into_iter().flatten());
        }
    }
    found
}

/// The compiler of policies takes minutes to build. It is built once for the demo and for the tests, as
/// long as nothing that only the tests take switches on a feature of what it stands on.
#[test]
fn the_tests_build_wasmtime_with_the_features_of_the_product() {
    let product = tree(&["--package=greenroom-supervisor", "--edges=normal,build"]);
    let tests = tree(&["--workspace", "--edges=normal,build,dev"]);
    let built: BTreeSet<(&str, &str)> = tests.iter().map(|line| (&*line.package, &*line.features)).collect();
    let below = below(&product, "wasmtime");
    assert!(below.len() > 50 && below.iter().any(|package| package.starts_with("cranelift-codegen ")), "{below:?}");
    let differ: BTreeSet<(&str, &str)> = product
        .iter()
        .map(|line| (&*line.package, &*line.features))
        .filter(|(package, features)| below.contains(*package) && !built.contains(&(package, features)))
        .collect();
    assert!(
        differ.is_empty(),
        "the tests build these with other features than the product, and wasmtime twice: {differ:#?}"
    );
}
