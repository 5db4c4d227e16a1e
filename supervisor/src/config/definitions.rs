//! The sections `definitions` and `policy`: what replaces the embedded catalogue and bundle, and how strict the pod is
//! with invalid files.

use super::reader::ConfigReader;
use super::setting::Setting;
use super::source_location::SourceLocation;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text(
        "definitions.dir",
        &["GREENROOM_DEFINITIONS"],
        "directory or `s3://BUCKET/PREFIX` of definitions instead of the embedded ones; watched",
    ),
    Setting::text(
        "definitions.strict",
        &["GREENROOM_DEFINITIONS_STRICT"],
        "`true` refuses a start or a reload with an invalid file; `false` quarantines the file",
    )
    .or("false"),
    Setting::text(
        "policy.dir",
        &["GREENROOM_POLICY"],
        "directory or `s3://BUCKET/PREFIX` of a policy bundle instead of the embedded one; watched",
    ),
];

/// Where the definitions are.
pub(super) fn read_definitions(reader: &mut ConfigReader<'_>) -> Option<SourceLocation> {
    read_location(reader, "definitions.dir")
}

/// True if one invalid file refuses all of them.
pub(super) fn read_strict(reader: &mut ConfigReader<'_>) -> bool {
    reader.get("definitions.strict").unwrap_or_default()
}

/// Where the policy bundle is.
pub(super) fn read_policy(reader: &mut ConfigReader<'_>) -> Option<SourceLocation> {
    read_location(reader, "policy.dir")
}

/// A location; `None` if it is not set or is none, which is a problem.
fn read_location(reader: &mut ConfigReader<'_>, key: &str) -> Option<SourceLocation> {
    let text: String = reader.get(key)?;
    match SourceLocation::parse(&text) {
        Ok(location) => Some(location),
        Err(problem) => {
            reader.report(format!("{key}: {problem}"));
            None
        }
    }
}
