//! What `cargo metadata` says of the workspace, as far as the tests here ask.
//!
//! Read with serde rather than with the `cargo_metadata` crate: that one switches on features of
//! `serde_json` and `semver`, and wasmtime would be compiled once for the tests and once for the
//! product. The format is cargo's: <https://doc.rust-lang.org/cargo/commands/cargo-metadata.html>.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

/// The workspace with the packages that were asked for.
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

/// What the manifest of a package asks for.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<Kind>,
    pub(crate) uses_default_features: bool,
    pub(crate) features: Vec<String>,
}

/// When a dependency is needed; `None` in [`Dependency::kind`] is always.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Build,
    Dev,
}

impl Metadata {
    /// What cargo says with `options`, of the workspace that this test is built from.
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
    /// What the package takes with it when somebody depends on it.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies.iter().filter(|dependency| dependency.kind != Some(Kind::Dev))
    }
}
