//! The merged layers as a list: every value with its origin, secrets masked, unknown keys reported.

use config::{Value, ValueKind};
use greenroom_definitions::problem::did_you_mean;

use super::secret::{MASK, mask_credentials};
use super::{mcp, settings};

/// Tables of the file with several entries.
const TABLES: [&str; 3] = ["users", "providers", "issuers"];
/// Tables of the file with one entry for each name.
const NAMED_TABLES: [&str; 4] = ["tenants", "runtimes.http.hosts", "tools.http", mcp::TABLE];
/// The origin of a setting that no layer sets.
const UNSET: &str = "not set";

/// One value as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ResolvedSetting {
    /// Its key.
    pub key: String,
    /// Its value; a secret is masked.
    pub value: String,
    /// The layer that set it, in words.
    pub origin: String,
}

/// Lists every value of the merged layers and every setting that none sets, by key; reports each key that
/// no setting knows.
pub(super) fn list(merged: &Value, problems: &mut Vec<String>) -> Vec<ResolvedSetting> {
    let mut resolved = Vec::new();
    collect("", merged, &mut resolved, problems);
    let unset: Vec<_> = settings::all()
        .filter(|setting| resolved.iter().all(|row| row.key != setting.key))
        .map(|setting| ResolvedSetting { key: setting.key.to_owned(), value: String::new(), origin: UNSET.to_owned() })
        .collect();
    resolved.extend(unset);
    resolved.sort_by(|a, b| a.key.cmp(&b.key));
    resolved
}

/// The keys of the settings that a layer sets to a value of its own.
pub(super) fn set_keys(resolved: &[ResolvedSetting]) -> impl Iterator<Item = &str> {
    resolved.iter().filter(|row| !row.value.is_empty() && row.origin != "default").map(|row| row.key.as_str())
}

fn collect(prefix: &str, value: &Value, resolved: &mut Vec<ResolvedSetting>, problems: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(members) => {
            for (name, member) in members {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                collect(&key, member, resolved, problems);
            }
        }
        ValueKind::Array(items) if TABLES.contains(&prefix) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{prefix}[{index}]"), item, resolved, problems);
            }
        }
        kind => {
            let origin = value.origin().unwrap_or("default").to_owned();
            let setting = settings::find(prefix);
            if setting.is_none() && !is_in_table(prefix) {
                let known = settings::all().map(|setting| setting.key).chain(TABLES).chain(NAMED_TABLES);
                let hint = did_you_mean(prefix, known).unwrap_or_default();
                problems.push(format!("{origin}: unknown setting {prefix}{hint}"));
                return;
            }
            let is_secret = setting.map_or_else(|| is_secret_member(prefix), |setting| setting.secret);
            let text = if is_secret { MASK.to_owned() } else { mask_credentials(&to_text(kind, value)) };
            resolved.push(ResolvedSetting { key: prefix.to_owned(), value: text, origin });
        }
    }
}

/// True for a member of a table of the file; its type checks its own members.
fn is_in_table(key: &str) -> bool {
    TABLES.iter().any(|table| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('[')))
        || NAMED_TABLES.iter().any(|table| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.')))
}

/// True for a member of a table that may be a secret: a key, every header of a host, and every variable of an MCP server.
fn is_secret_member(key: &str) -> bool {
    let is_server_variable = || {
        let member = key.strip_prefix(mcp::TABLE).and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
        member.is_some_and(|(_, member)| member.starts_with("env."))
    };
    key.ends_with("api_key") || key.contains(".headers.") || is_server_variable()
}

fn to_text(kind: &ValueKind, value: &Value) -> String {
    match kind {
        ValueKind::Array(items) => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ValueKind::Nil
        | ValueKind::Boolean(_)
        | ValueKind::I64(_)
        | ValueKind::I128(_)
        | ValueKind::U64(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::String(_)
        | ValueKind::Table(_) => value.to_string(),
    }
}
