//! `greenroom config check`: prints every setting with its origin.

use greenroom_protocol::Cause;

use super::output::{Output, print_note, table};
use crate::config::LoadedConfig;

/// Executes the command.
///
/// # Errors
/// [`greenroom_protocol::ErrorCode::InvalidConfiguration`] if no store of this version is configured.
pub fn check(loaded: &LoadedConfig, output: Output) -> Result<u8, Cause> {
    loaded.config.store.supported()?;
    let rows: Vec<_> = loaded.resolved.iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
    let document = serde_json::json!({ "settings": rows, "warnings": loaded.warnings });
    output.document(&document, || table(&rows, &[("key", "SETTING"), ("value", "VALUE"), ("origin", "ORIGIN")]));
    for warning in &loaded.warnings {
        print_note(&format!("warning: {warning}"));
    }
    Ok(0)
}
