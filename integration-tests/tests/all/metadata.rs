//! The part of `cargo metadata` that these tests need.
//!
//! It is read with serde instead of the `cargo_metadata` crate, because that crate enables features of
//! `serde_json` and `semver`, and wasmtime would be compiled once for the tests and once for the
//! product. The format is cargo's: <https://doc.rust-lang.org/cargo/commands/cargo-metadata.html>.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// The workspace with the requested packages.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
}

/// One package.
#[derive(Deserialize)]
pub(crate) struct Package {
    id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its SPDX expression, if it has one.
    pub(crate) license: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency that a package declares.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) uses_default_features: bool,
    /// True if only a feature of the package brings it.
    pub(crate) optional: bool,
    pub(crate) features: Vec<String>,
}

/// The kind of a dependency; a normal one has `None` in [`Dependency::kind`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Build,
    Dev,
}

impl Metadata {
    /// Runs `cargo metadata` with `options` on the workspace of this test.
    pub(crate) fn read(options: &[&str]) -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--manifest-path", manifest])
            .args(options)
            .output()
            .expect("cargo can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("cargo writes the format that it documents")
    }

    /// The packages of this workspace.
    pub(crate) fn workspace_packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// The dependencies that a dependent of this package also gets.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.kind != Some(Kind::Dev))
    }
}
