//! `greenroom policy check`: validates a bundle as a pod does, and reports what its rules read of the input.

use std::path::PathBuf;

use greenroom_protocol::{Cause, ErrorCode, Json};
use greenroom_rego::{PolicySnapshot, PolicyWarning};
use serde_json::json;

use crate::cli::definitions::parse_location;
use crate::cli::output::Output;
use crate::compose;
use crate::config::Config;

/// Executes the command.
///
/// # Errors
/// [`ErrorCode::InvalidPolicy`] for a bundle that a pod rejects. A rule on a path that the input never has is
/// reported, and the exit code is that of the same code.
pub(super) async fn check(config: Config, path: Option<PathBuf>, output: Output) -> Result<u8, Cause> {
    let named = path.as_deref().map(parse_location).transpose()?;
    let config = Config { policy: named.or_else(|| config.policy.clone()), ..config };
    let snapshot = compose::policy::load_snapshot(&config).await?;
    let tried = snapshot.try_read_set().await?;
    let document = report(&snapshot, tried);
    output.document(&document, || format_report(&snapshot, tried));
    Ok(exit_code(&snapshot))
}

/// The exit code of a report: a rule on a path that the input never has is an error.
pub(super) fn exit_code(snapshot: &PolicySnapshot) -> u8 {
    let has_errors = snapshot.warnings().iter().any(PolicyWarning::is_error);
    if has_errors { ErrorCode::InvalidPolicy.exit_code() } else { 0 }
}

/// What the rules of a bundle read, and what is wrong with it, as a document.
pub(super) fn report(snapshot: &PolicySnapshot, tried: usize) -> Json {
    let (errors, warnings): (Vec<_>, Vec<_>) = snapshot.warnings().iter().partition(|warning| warning.is_error());
    let texts =
        |warnings: Vec<&PolicyWarning>| -> Vec<String> { warnings.into_iter().map(ToString::to_string).collect() };
    json!({
        "revision": &**snapshot.revision(),
        "hash": snapshot.hash().to_string(),
        "whole_input": snapshot.read_set().is_whole(),
        "reads": snapshot.read_set().paths(),
        "inputs_tried": tried,
        "errors": texts(errors),
        "warnings": texts(warnings),
    })
}

/// The same as text.
pub(super) fn format_report(snapshot: &PolicySnapshot, tried: usize) -> String {
    let mut text = format!("policy {}\n", snapshot.revision());
    for warning in snapshot.warnings() {
        text.push_str(&format!("  {}: {warning}\n", if warning.is_error() { "error" } else { "warning" }));
    }
    let read_set = snapshot.read_set();
    if read_set.is_whole() {
        text.push_str("  every decision receives the whole input\n");
    } else {
        text.push_str(&format!("  {tried} generated inputs are decided alike, whole and pruned\n  the rules read:\n"));
        text.extend(read_set.paths().iter().map(|path| format!("    input.{path}\n")));
    }
    text
}
