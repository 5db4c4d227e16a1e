//! The paths of the policy input, as its schema has them: whether a path that a rule names exists, and
//! which existing path resembles it.

use std::sync::OnceLock;

use greenroom_protocol::Json;

use super::input::Input;

/// Similarity from which a name is suggested.
const SIMILARITY_MIN: f64 = 0.6;

/// A path that the host never sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPath {
    /// The path, as `input.user.tenannt`.
    pub path: String,
    /// The path that was probably meant.
    pub suggestion: Option<String>,
}

/// Finds out whether the host never sends a path below `input`.
pub(crate) fn find_unknown(path: &[String]) -> Option<UnknownPath> {
    let mut node = schema();
    for (position, name) in path.iter().enumerate() {
        let members = node.get("properties").and_then(Json::as_object);
        node = match (members, node.get("additionalProperties")) {
            (Some(members), _) if members.contains_key(name) => members.get(name)?,
            // A set has any names, and each is a number.
            (None, Some(names)) if names.is_object() => names,
            _ => {
                let suggestion = suggest(path, position, members.into_iter().flatten().map(|(name, _)| name.as_str()));
                return Some(UnknownPath { path: format!("input.{}", path.join(".")), suggestion });
            }
        };
    }
    None
}

/// The most similar of these names, if it is similar enough.
pub(crate) fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|name| (strsim::normalized_damerau_levenshtein(found, name), name));
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(left.1)))?;
    (best.0 >= SIMILARITY_MIN).then_some(best.1)
}

/// A suggestion of a similar name, as the end of a sentence.
pub(crate) fn did_you_mean<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    closest(found, known).map(|name| format!(", did you mean `{name}`?")).unwrap_or_default()
}

/// The path that was probably meant: with a similar name beside the unknown one, or elsewhere with a similar
/// last name.
fn suggest<'a>(path: &[String], unknown: usize, siblings: impl Iterator<Item = &'a str>) -> Option<String> {
    let name = path.get(unknown)?;
    if let Some(sibling) = closest(name, siblings) {
        let parents = path.iter().take(unknown).map(String::as_str);
        let corrected: Vec<_> =
            parents.chain([sibling]).chain(path.iter().skip(unknown + 1).map(String::as_str)).collect();
        return Some(format!("input.{}", corrected.join(".")));
    }
    let last = path.last()?;
    let rate = |known: &String| strsim::normalized_damerau_levenshtein(last, known.rsplit('.').next().unwrap_or(known));
    let rated = paths().iter().map(|known| (rate(known), known));
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(left.1)))?;
    (best.0 >= SIMILARITY_MIN).then(|| format!("input.{}", best.1))
}

/// Every path of the schema.
pub(crate) fn paths() -> &'static [String] {
    static PATHS: OnceLock<Vec<String>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut paths = Vec::new();
        collect_paths(schema(), "", &mut paths);
        paths
    })
}

fn collect_paths(node: &Json, parent: &str, paths: &mut Vec<String>) {
    for (name, member) in node.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        collect_paths(member, &path, paths);
        paths.push(path);
    }
}

fn schema() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| schemars::schema_for!(Input).to_value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(path: &str) -> Option<(String, Option<String>)> {
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        find_unknown(&path).map(|unknown| (unknown.path, unknown.suggestion))
    }

    #[test]
    fn every_path_of_the_schema_exists_and_a_set_has_any_name() {
        assert!(paths().len() > 35, "{:?}", paths());
        for path in
            paths().iter().map(String::as_str).chain(["user.roles.any", "policies.any", "agent.capabilities.any"])
        {
            assert_eq!(unknown(path), None, "{path}");
        }
        assert_eq!(find_unknown(&[]), None);
    }

    #[test]
    fn a_path_that_does_not_exist_is_found_with_a_suggestion() {
        for (path, suggestion) in [
            ("user.tenannt", Some("input.user.tenant")),
            ("usr.tenant", Some("input.user.tenant")),
            ("principal.tenannt", Some("input.user.tenant")),
            ("facts.audit", Some("input.facts.audited")),
            ("user.role.admin", Some("input.user.roles.admin")),
            ("own_tenant", Some("input.facts.own_tenant")),
            ("blocked", None),
            ("user.id.first", None),
            ("user.roles.admin.since", None),
        ] {
            let expected = Some((format!("input.{path}"), suggestion.map(str::to_owned)));
            assert_eq!(unknown(path), expected, "{path}");
        }
    }
}
