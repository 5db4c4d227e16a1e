//! The files of a release agree with the workspace and with each other. The packages are built of the program of the tests, and
//! installed; `scripts/release` does the same with the profile `dist`.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use greenroom_integration_tests::terminal::binary;
use greenroom_supervisor::cli::args::{Cli, Command as CliCommand, RunpodCommand};
use serde_json::Value;

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
        .with_context(|| path.to_owned())
}

fn manifest() -> Result<toml::Table> {
    Ok(read("Cargo.toml")?.parse()?)
}

#[test]
fn a_distributed_program_is_stripped_and_optimised_and_a_panic_still_unwinds() -> Result<()> {
    let manifest = manifest()?;
    let dist = &manifest["profile"]["dist"];
    assert_eq!(dist["inherits"].as_str(), Some("release"));
    assert_eq!((dist["strip"].as_str(), dist["lto"].as_str()), (Some("symbols"), Some("thin")));
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("unwind"));
    assert_eq!(manifest["profile"]["release"]["lto"].as_bool(), Some(false), "`release` remains quick to build");
    Ok(())
}

/// The first bytes of a profile that LLVM reads, and the version of its format that the compiler of this tree writes.
const PROFILE_MAGIC: &[u8] = b"\xfflprofi\x81\x0d";

#[test]
fn the_recording_is_a_profile_of_the_program_as_it_is_built() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/profile/x86_64.profdata.gz");
    let unpacked = Command::new("gzip").args(["--decompress", "--stdout"]).arg(path).output()?;
    ensure!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    ensure!(unpacked.stdout.starts_with(PROFILE_MAGIC), "scripts/profile writes it anew for another compiler");
    // Functions have other names if other options are given.
    for path in ["scripts/program", "scripts/profile"] {
        let script = read(path)?.replace("\\\n    ", "");
        ensure!(script.contains("cargo build --locked --profile dist --target \"$target\" "), "{path}");
        ensure!(script.contains("--package greenroom-supervisor --bin greenroom"), "{path}");
    }
    Ok(())
}

#[test]
fn packages_have_the_version_of_the_workspace() -> Result<()> {
    let manifest = manifest()?;
    let version = manifest["workspace"]["package"]["version"].as_str().context("a version")?;
    let wheel: toml::Table = read("packaging/pyproject.toml")?.parse()?;
    assert_eq!(wheel["project"]["version"].as_str(), Some(version));
    let maturin = &wheel["tool"]["maturin"];
    assert_eq!((maturin["bindings"].as_str(), maturin["profile"].as_str()), (Some("bin"), Some("dist")));
    assert_eq!(maturin["manifest-path"].as_str(), Some("../supervisor/Cargo.toml"));
    let npm: Value = serde_json::from_str(&read("packaging/npm/package.json")?)?;
    assert_eq!((npm["version"].as_str(), npm["bin"]["greenroom"].as_str()), (Some(version), Some("bin/greenroom.js")));
    let launcher = read("packaging/npm/bin/greenroom.js")?;
    ensure!(launcher.starts_with("#!/usr/bin/env node\n"));
    for file in npm["files"].as_array().context("files")?.iter().filter_map(Value::as_str) {
        let folder = file.split('/').nth(1).context("a folder")?;
        ensure!(folder == "greenroom.js" || launcher.contains(&format!("\"{folder}\"")), "{file}");
    }
    Ok(())
}

/// Seconds after which packaging counts as hanging.
const PACKAGING_SECONDS_MAX: &str = "900";

#[test]
fn the_packages_are_built_and_installed_and_their_programs_start_without_a_compiler() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/packages");
    let packaged = Command::new("timeout")
        .arg(PACKAGING_SECONDS_MAX)
        .arg(script)
        .arg(binary()?)
        .arg(folder.path())
        // Cargo sets variables for tests that would be settings of the cargo of the script.
        .env_remove("CARGO")
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(packaged.status.success(), "{}{}", text(&packaged.stdout), text(&packaged.stderr));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path())? {
        names.push(entry?.file_name().into_string().map_err(|name| anyhow::anyhow!("{name:?}"))?);
    }
    let version = env!("CARGO_PKG_VERSION");
    let wheel = names.iter().find(|name| name.ends_with(".whl")).context("a wheel")?;
    ensure!(wheel.starts_with(&format!("greenroom-{version}-py3-none-")) && wheel.contains("linux"), "{wheel}");
    let mut archive = zip::ZipArchive::new(File::open(folder.path().join(wheel))?)?;
    archive.by_name(&format!("greenroom-{version}.data/scripts/greenroom")).context("the program of the wheel")?;
    ensure!(names.contains(&format!("greenroom-{version}.tgz")), "{names:?}");
    Ok(())
}

#[test]
fn the_installer_downloads_what_the_release_has_and_checks_it() -> Result<()> {
    let (installer, script) = (read("install.sh")?, read("scripts/release")?);
    ensure!(installer.starts_with("#!/bin/sh\n") && installer.contains("\nset -eu\n"));
    ensure!(script.contains("archive=greenroom-$version-$machine-linux.tar.gz"));
    ensure!(installer.contains("archive=greenroom-$version-$machine-linux.tar.gz"));
    let (checked, extracted) = (installer.find("sha256sum -c"), installer.find("tar -xzf"));
    ensure!(checked.is_some() && checked < extracted, "the checksum is compared before the archive is opened");
    let workflow = read(".github/workflows/release.yml")?;
    ensure!(workflow.contains("release/VERSION") && installer.contains("latest/download/VERSION"));
    Ok(())
}

#[test]
fn workflows_pin_actions_by_commit_and_grant_little() -> Result<()> {
    for path in [".github/workflows/release.yml", ".github/workflows/security.yml"] {
        let text = read(path)?;
        let workflow: Value = serde_json::to_value(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text)?)?;
        assert_eq!(workflow["permissions"]["contents"], "read", "{path}");
        for (name, job) in workflow["jobs"].as_object().context("jobs")? {
            ensure!(job["timeout-minutes"].is_u64(), "{path}: {name} has no timeout");
        }
        for line in text.lines().filter_map(|line| line.trim().strip_prefix("- uses: ")) {
            let (_, pin) = line.split_once('@').with_context(|| line.to_owned())?;
            let (commit, tag) = pin.split_once(" # v").with_context(|| format!("{line} names no version"))?;
            ensure!(commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{line}");
            ensure!(tag.starts_with(|c: char| c.is_ascii_digit()), "{line}");
        }
    }
    Ok(())
}

#[test]
fn vulnerabilities_secrets_licences_and_sources_are_checked_and_reported() -> Result<()> {
    let text = read(".github/workflows/security.yml")?;
    let workflow: Value = serde_json::to_value(serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text)?)?;
    let uses = |job: &str, part: &str| workflow["jobs"][job]["steps"].to_string().contains(part);
    for part in
        ["aquasecurity/trivy-action@", "\"format\":\"sarif\"", "codeql-action/upload-sarif@", "vuln,secret,misconfig"]
    {
        ensure!(uses("trivy", part), "trivy: {part}");
    }
    for part in [
        "cargo audit --deny warnings",
        "cargo deny --locked check advisories bans licenses sources",
        "dependency-check-report",
    ] {
        ensure!(uses("dependency-check", part), "dependency-check: {part}");
    }
    for part in ["pip-audit==2.10.1 pip-audit --requirement integration-tests/python/requirements.txt", "npm audit"] {
        ensure!(uses("test-packages", part), "test-packages: {part}");
    }
    for part in ["--quiet --recursive actors/runtimes/src/python/greenroom", "bandit-report"] {
        ensure!(uses("bandit", part), "bandit: {part}");
    }
    let requirements = read("integration-tests/python/requirements.txt")?;
    let bandit = requirements.lines().find(|line| line.starts_with("bandit==")).context("a version of bandit")?;
    ensure!(uses("bandit", bandit), "the version of the tests: {bandit}");
    Ok(())
}

#[test]
fn both_checkers_of_advisories_ignore_the_same_ones() -> Result<()> {
    let ignored = |path: &str| -> Result<toml::Value> {
        let table: toml::Table = read(path)?.parse()?;
        Ok(table["advisories"]["ignore"].clone())
    };
    assert_eq!(ignored(".cargo/audit.toml")?, ignored("deny.toml")?);
    Ok(())
}

#[test]
fn a_release_pushes_the_image_that_a_deployment_names_without_another_one() -> Result<()> {
    let workflow = read(".github/workflows/release.yml")?;
    for part in ["image=ghcr.io/$(", "--target python --tag \"$image:$version-python\"", "packages: write"] {
        ensure!(workflow.contains(part), "{part}");
    }
    let arguments = ["greenroom", "runpod", "deploy", "file.yaml"];
    let CliCommand::Runpod(RunpodCommand::Deploy(deploy)) = Cli::try_parse_from(arguments)?.command else {
        anyhow::bail!("another command");
    };
    assert_eq!(deploy.file.image, format!("ghcr.io/greenroom/greenroom:{}", env!("CARGO_PKG_VERSION")));
    Ok(())
}

#[test]
fn a_release_has_two_processors_components_checksums_and_a_provenance() -> Result<()> {
    let workflow = read(".github/workflows/release.yml")?;
    for part in [
        // Their C library is older than that of Debian 12.
        "runner: ubuntu-22.04, machine: x86_64",
        "runner: ubuntu-22.04-arm, machine: aarch64",
        "cargo cyclonedx",
        "SHA256SUMS",
        "attest-build-provenance",
        "run: scripts/release",
    ] {
        ensure!(workflow.contains(part), "{part}");
    }
    Ok(())
}
