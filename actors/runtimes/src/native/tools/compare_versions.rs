//! `native:compare_versions`: orders semantic versions, names the kind of the step from one to the next, and says which
//! of them a requirement admits.

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use schemars::JsonSchema;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum versions.
const VERSIONS_MAX: usize = 1_000;
/// Maximum bytes of a version or a requirement.
const TEXT_BYTES_MAX: usize = 200;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The versions, such as 1.4.0-rc.1; a leading `v` is ignored.
    versions: Vec<String>,
    /// A requirement in the notation of Cargo, such as `^1.2` or `>=1.0, <2.0`.
    #[serde(default)]
    requirement: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The versions from the oldest to the newest by precedence.
    sorted: Vec<String>,
    /// The steps between the versions in the order of the arguments.
    steps: Vec<Step>,
    /// Those that the requirement admits, the newest first; none without a requirement.
    matching: Vec<String>,
    /// What is no semantic version.
    invalid: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Step {
    from: String,
    to: String,
    kind: Kind,
    /// Whether users of `from` can take `to` without a change: the major version is the same, and with a major version
    /// of zero the minor one too.
    is_compatible: bool,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Major,
    Minor,
    Patch,
    PreRelease,
    Same,
    Downgrade,
}

/// The tool.
pub(crate) struct CompareVersions;

impl Computation for CompareVersions {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "compare_versions";
    const DESCRIPTION: &'static str = "Sorts semantic versions, classes each step as major, minor, patch or downgrade, \
                                       and finds those that a requirement admits.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        require_at_most("versions", arguments.versions.len(), VERSIONS_MAX)?;
        let requirement = arguments.requirement.as_deref().map(parse_requirement).transpose()?;
        let mut versions = Vec::new();
        let mut invalid = Vec::new();
        for text in &arguments.versions {
            let plain = truncate_utf8(text.trim(), TEXT_BYTES_MAX);
            match Version::parse(plain.strip_prefix('v').unwrap_or(plain)) {
                Ok(version) => versions.push(version),
                Err(_) => invalid.push(plain.to_owned()),
            }
        }
        let steps = versions.iter().zip(versions.iter().skip(1)).map(|(from, to)| Step {
            from: from.to_string(),
            to: to.to_string(),
            kind: kind_of(from, to),
            is_compatible: to >= from && from.major == to.major && (from.major > 0 || from.minor == to.minor),
        });
        let steps = steps.collect();
        versions.sort();
        let admits = |version: &&Version| requirement.as_ref().is_some_and(|requirement| requirement.matches(version));
        Ok(Output {
            sorted: versions.iter().map(Version::to_string).collect(),
            steps,
            matching: versions.iter().rev().filter(admits).map(Version::to_string).collect(),
            invalid,
        })
    }
}

fn parse_requirement(text: &str) -> Result<VersionReq, Cause> {
    let text = truncate_utf8(text, TEXT_BYTES_MAX);
    VersionReq::parse(text).map_err(|error| invalid(format!("`{text}` is no requirement: {error}")))
}

fn kind_of(from: &Version, to: &Version) -> Kind {
    match from.cmp_precedence(to) {
        std::cmp::Ordering::Greater => Kind::Downgrade,
        std::cmp::Ordering::Equal => Kind::Same,
        std::cmp::Ordering::Less if from.major != to.major => Kind::Major,
        std::cmp::Ordering::Less if from.minor != to.minor => Kind::Minor,
        std::cmp::Ordering::Less if from.patch != to.patch => Kind::Patch,
        std::cmp::Ordering::Less => Kind::PreRelease,
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::CompareVersions;

    #[test]
    fn versions_are_sorted_classed_and_matched() {
        let output = compute_json::<CompareVersions>(json!({
            "versions": ["v1.2.0", "1.10.0", "2.0.0-rc.1", "2.0.0", "0.3.0", "latest"], "requirement": "^1.2"
        }))
        .unwrap();
        assert_eq!(output["sorted"], json!(["0.3.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "2.0.0"]));
        let kinds: Vec<_> = output["steps"].as_array().unwrap().iter().map(|step| step["kind"].clone()).collect();
        assert_eq!(kinds, [json!("minor"), json!("major"), json!("pre_release"), json!("downgrade")]);
        assert_eq!((&output["matching"], &output["invalid"]), (&json!(["1.10.0", "1.2.0"]), &json!(["latest"])));
        assert_eq!(output["steps"][0]["is_compatible"], json!(true));
    }

    #[test]
    fn what_is_no_requirement_is_rejected() {
        for (arguments, code) in [
            (json!({ "versions": [], "requirement": "newest" }), ErrorCode::InvalidInput),
            (json!({ "versions": vec!["1.0.0"; 1_001] }), ErrorCode::PayloadTooLarge),
        ] {
            assert_eq!(compute_json::<CompareVersions>(arguments).unwrap_err().code, code);
        }
        let odd =
            compute_json::<CompareVersions>(json!({ "versions": ["", "1", "99999999999999999999.0.0"] })).unwrap();
        assert_eq!((odd["invalid"].as_array().unwrap().len(), &odd["steps"]), (3, &json!([])));
    }
}
