//! Checks the dependency tree against the lists of `deny.toml`, also on machines without cargo-deny.
//! Advisories need their database, so `.github/workflows/security.yml` checks those.

use crate::metadata::Metadata;

/// The platform whose dependencies are checked; cargo-deny checks all platforms of `deny.toml`.
const PLATFORM: &str = "--filter-platform=x86_64-unknown-linux-gnu";

fn metadata() -> Metadata {
    // The tree is that of the lock file, whose packages this build has already downloaded.
    Metadata::read(&["--locked", "--offline", PLATFORM])
}

fn deny() -> toml::Table {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml"));
    text.expect("deny.toml can be read").parse().expect("deny.toml is TOML")
}

/// The texts of the array at `path`, or of the member `key` of its tables.
fn texts<'a>(table: &'a toml::Table, path: [&str; 2], key: &str) -> Vec<&'a str> {
    let [section, name] = path;
    let array = table.get(section).and_then(|section| section.get(name)).and_then(toml::Value::as_array);
    let items = array.into_iter().flatten();
    items.filter_map(|item| item.as_str().or_else(|| item.get(key).and_then(toml::Value::as_str))).collect()
}

/// True if one alternative of each part of an SPDX expression is allowed. Older manifests write `/` for
/// `OR`; no package in the tree nests deeper than `(A OR B) AND C`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        part.split(" OR ").any(|licence| allowed.contains(&licence.trim()))
    })
}

#[test]
fn every_licence_in_the_tree_is_allowed() {
    let deny = deny();
    let allowed = texts(&deny, ["licenses", "allow"], "");
    assert!(allowed.contains(&"Apache-2.0"), "deny.toml allows {allowed:?}");
    let mut problems: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(|licence| is_allowed(licence, &allowed)))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    problems.sort();
    assert!(problems.is_empty(), "not on the list of deny.toml:\n{}\n", problems.join("\n"));
}

#[test]
fn nothing_banned_is_in_the_tree() {
    let deny = deny();
    let banned = texts(&deny, ["bans", "deny"], "crate");
    assert!(banned.contains(&"openssl"), "deny.toml bans {banned:?}");
    let metadata = metadata();
    let matches: Vec<&str> =
        metadata.packages.iter().map(|package| package.name.as_str()).filter(|name| banned.contains(name)).collect();
    assert!(
        matches.is_empty(),
        "banned by deny.toml: {matches:?}; `cargo tree --invert NAME` shows which package depends on it"
    );
}

#[test]
fn an_expression_needs_one_allowed_alternative_of_each_part() {
    let allowed = ["MIT", "ISC"];
    assert!(is_allowed("MIT/Apache-2.0", &allowed));
    assert!(is_allowed("(MIT OR GPL-3.0) AND ISC", &allowed));
    assert!(!is_allowed("MIT AND GPL-3.0", &allowed));
    assert!(!is_allowed("GPL-3.0", &allowed));
}
