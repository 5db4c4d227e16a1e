//! `native:read_lock_file`: reads the packages of a `Cargo.lock` or a `package-lock.json`, and what changed since an
//! earlier one.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{Cause, Json};
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum packages of a file.
const PACKAGES_MAX: usize = 10_000;
/// Maximum packages and changes of a result, each.
const LISTED_MAX: usize = 400;
/// Maximum bytes of a name or a version.
const TEXT_BYTES_MAX: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The file: a `Cargo.lock`, or a `package-lock.json` of version 2 or 3.
    lock_file: String,
    /// The earlier file, to find what changed.
    #[serde(default)]
    earlier: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    format: Format,
    package_count: usize,
    /// The packages by name; all of them only if they are few.
    packages: Vec<Package>,
    packages_omitted: usize,
    /// Names with several versions.
    duplicates: Vec<String>,
    /// What changed since the earlier file.
    changes: Vec<Change>,
    changes_omitted: usize,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    CargoLock,
    PackageLock,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
struct Package {
    name: String,
    version: String,
    /// Whether the file has a checksum of its content.
    has_checksum: bool,
    /// Whether it comes from elsewhere than a registry: from a repository, a folder or an address of its own.
    is_elsewhere: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    name: String,
    /// The versions of the earlier file that this one lacks.
    removed: Vec<String>,
    /// The versions that are new.
    added: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Added,
    Removed,
    Major,
    Minor,
    Patch,
    Downgrade,
    Other,
}

/// The tool.
pub(crate) struct ReadLockFile;

impl Computation for ReadLockFile {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "read_lock_file";
    const DESCRIPTION: &'static str = "Reads the packages of a Cargo.lock or package-lock.json: versions, duplicates, \
                                       missing checksums, and the changes since an earlier file.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let (format, packages) = read(&arguments.lock_file)?;
        let versions = by_name(&packages);
        let duplicates = versions.iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| (*name).to_owned());
        let duplicates = duplicates.take(LISTED_MAX).collect();
        let mut changes = Vec::new();
        if let Some(earlier) = &arguments.earlier {
            let (_, earlier) = read(earlier)?;
            changes = compare(&by_name(&earlier), &versions);
        }
        let count = packages.len();
        let changes_omitted = changes.len().saturating_sub(LISTED_MAX);
        changes.truncate(LISTED_MAX);
        let listed = if arguments.earlier.is_some() { 0 } else { LISTED_MAX };
        Ok(Output {
            format,
            package_count: count,
            packages: packages.into_iter().take(listed).collect(),
            packages_omitted: count.saturating_sub(listed),
            duplicates,
            changes,
            changes_omitted,
        })
    }
}

/// The packages of a file, sorted and without repetitions.
fn read(text: &str) -> Result<(Format, BTreeSet<Package>), Cause> {
    let (format, packages) = if text.trim_start().starts_with('{') {
        (Format::PackageLock, read_package_lock(text)?)
    } else {
        (Format::CargoLock, read_cargo_lock(text)?)
    };
    require_at_most("packages", packages.len(), PACKAGES_MAX)?;
    Ok((format, packages))
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn read_cargo_lock(text: &str) -> Result<BTreeSet<Package>, Cause> {
    let lock: CargoLock =
        toml::from_str(text).map_err(|error| invalid(format!("the file is no Cargo.lock: {error}")))?;
    if lock.package.is_empty() {
        return Err(invalid("the file has no `[[package]]`"));
    }
    let packages = lock.package.into_iter().map(|package| Package {
        name: cut(&package.name),
        version: cut(&package.version),
        has_checksum: package.checksum.is_some(),
        is_elsewhere: package.source.is_some_and(|source| !source.starts_with("registry+")),
    });
    Ok(packages.collect())
}

fn read_package_lock(text: &str) -> Result<BTreeSet<Package>, Cause> {
    let lock: Json = serde_json::from_str(text).map_err(|error| invalid(format!("the file is no JSON: {error}")))?;
    let packages = lock.get("packages").and_then(Json::as_object);
    let packages =
        packages.ok_or_else(|| invalid("the file has no `packages`, as a package-lock.json from version 2 on"))?;
    let installed = packages.iter().filter_map(|(path, package)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        let text = |member: &str| package.get(member).and_then(Json::as_str);
        Some(Package {
            name: cut(text("name").unwrap_or(name)),
            version: cut(text("version")?),
            has_checksum: text("integrity").is_some(),
            // The archives of a registry are below `/-/`.
            is_elsewhere: text("resolved").is_some_and(|url| !url.contains("/-/")),
        })
    });
    Ok(installed.collect())
}

fn cut(text: &str) -> String {
    truncate_utf8(text, TEXT_BYTES_MAX).to_owned()
}

fn by_name(packages: &BTreeSet<Package>) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        names.entry(&package.name).or_default().insert(&package.version);
    }
    names
}

fn compare(earlier: &BTreeMap<&str, BTreeSet<&str>>, later: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Change> {
    let names: BTreeSet<&str> = earlier.keys().chain(later.keys()).copied().collect();
    let none = BTreeSet::new();
    let mut changes: Vec<Change> = names
        .into_iter()
        .filter_map(|name| {
            let (before, after) = (earlier.get(name).unwrap_or(&none), later.get(name).unwrap_or(&none));
            let removed: Vec<&str> = before.difference(after).copied().collect();
            let added: Vec<&str> = after.difference(before).copied().collect();
            let kind = match (removed.as_slice(), added.as_slice()) {
                ([], []) => return None,
                ([], _) => Kind::Added,
                (_, []) => Kind::Removed,
                ([from], [to]) => kind_of(from, to),
                (_, _) => Kind::Other,
            };
            let owned = |versions: Vec<&str>| versions.into_iter().map(str::to_owned).collect();
            Some(Change { name: name.to_owned(), removed: owned(removed), added: owned(added), kind })
        })
        .collect();
    // What is most likely to break something is first, so that a bound cuts off the least important.
    changes.sort_by_key(|change| match change.kind {
        Kind::Major | Kind::Downgrade => 0,
        Kind::Added | Kind::Removed | Kind::Other => 1,
        Kind::Minor => 2,
        Kind::Patch => 3,
    });
    changes
}

fn kind_of(from: &str, to: &str) -> Kind {
    let (Ok(from), Ok(to)) = (Version::parse(from), Version::parse(to)) else { return Kind::Other };
    if to < from {
        return Kind::Downgrade;
    }
    if from.major != to.major {
        return Kind::Major;
    }
    if from.minor != to.minor { Kind::Minor } else { Kind::Patch }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::{Value, json};

    use super::super::computation::compute_json;
    use super::ReadLockFile;

    fn compute(arguments: Value) -> Value {
        compute_json::<ReadLockFile>(arguments).unwrap()
    }

    const OLD: &str = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"x\"\n\
                       source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                       [[package]]\nname = \"b\"\nversion = \"0.1.0\"\nsource = \"git+https://example.com/b\"\n";

    #[test]
    fn packages_are_read_from_both_formats() {
        let cargo = compute(json!({ "lock_file": OLD }));
        assert_eq!((&cargo["format"], &cargo["package_count"]), (&json!("cargo_lock"), &json!(2)));
        assert_eq!(
            (&cargo["packages"][0]["has_checksum"], &cargo["packages"][1]["is_elsewhere"]),
            (&json!(true), &json!(true))
        );
        let npm = json!({ "lockfileVersion": 3, "packages": {
            "": { "name": "app" },
            "node_modules/x": { "version": "1.0.0", "integrity": "sha512-…" },
            "node_modules/y/node_modules/x": { "version": "2.0.0" }
        } });
        let output = compute(json!({ "lock_file": npm.to_string() }));
        assert_eq!((&output["format"], &output["duplicates"]), (&json!("package_lock"), &json!(["x"])));
    }

    #[test]
    fn changes_are_classed() {
        let new = OLD.replace("1.0.0", "2.0.0").replace("\"b\"", "\"c\"");
        let output = compute(json!({ "lock_file": new, "earlier": OLD }));
        let changes: Vec<_> = output["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| (change["name"].clone(), change["kind"].clone()))
            .collect();
        let expected =
            [("a", "major"), ("b", "removed"), ("c", "added")].map(|(name, kind)| (json!(name), json!(kind)));
        assert_eq!(changes, expected);
    }

    #[test]
    fn what_is_no_lock_file_is_rejected() {
        for text in ["", "hello", "{", "{}", "[[package]]\nname = 1\n", "a = [[[[[["] {
            let cause = compute_json::<ReadLockFile>(json!({ "lock_file": text })).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{text}");
        }
        let many: String = (0..10_001).map(|n| format!("[[package]]\nname='p{n}'\nversion='1'\n")).collect();
        let cause = compute_json::<ReadLockFile>(json!({ "lock_file": many })).unwrap_err();
        assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
    }
}
