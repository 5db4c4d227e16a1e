//! `greenroom keys`: creates, lists and revokes API keys, and revokes users of identity providers.

use greenroom_protocol::request::{KeyScope, Maintenance, NewKey};
use greenroom_protocol::{Cause, Clock, Json};

use super::args::{CreateKeyArgs, KeysCommand};
use super::output::{Output, table};
use super::session::Session;
use crate::clock::WallClock;

/// The columns of the list.
const COLUMNS: [(&str, &str); 7] = [
    ("key", "KEY"),
    ("status", "STATUS"),
    ("tenant", "TENANT"),
    ("owner", "OWNER"),
    ("name", "NAME"),
    ("expires_at", "EXPIRES"),
    ("scope.roles", "ROLES"),
];

/// Executes the command.
///
/// # Errors
/// The cause of a denied or rejected request.
pub async fn keys(session: &Session, command: KeysCommand, output: Output) -> Result<u8, Cause> {
    match command {
        KeysCommand::Create(arguments) => {
            let report = session.maintain(Maintenance::CreateKey(new_key(arguments))).await?;
            output.document(&report, || format_key(&report));
            output.note("this is the only time that the key is shown");
        }
        KeysCommand::List => {
            let report = session.maintain(Maintenance::ListKeys).await?;
            let rows = report.get("keys").and_then(Json::as_array).cloned().unwrap_or_default();
            output.document(&report, || table(&rows, &COLUMNS));
        }
        KeysCommand::Revoke { key: _, subject: Some(subject) } => {
            let report = session.maintain(Maintenance::RevokeSubject { subject: subject.clone() }).await?;
            output.document(&report, || format!("revoked {subject}"));
        }
        KeysCommand::Revoke { key: Some(key), subject: None } => {
            let report = session.maintain(Maintenance::RevokeKey { key: key.clone() }).await?;
            output.document(&report, || format!("revoked {key}"));
        }
        // The arguments require one of both.
        KeysCommand::Revoke { key: None, subject: None } => {}
        KeysCommand::Reinstate { subject } => {
            let report = session.maintain(Maintenance::ReinstateSubject { subject: subject.clone() }).await?;
            output.document(&report, || format!("reinstated {subject}"));
        }
    }
    Ok(0)
}

fn new_key(arguments: CreateKeyArgs) -> NewKey {
    let CreateKeyArgs { owner, name, expires_in, roles, categories, pii_access, agents, workflows } = arguments;
    let scope = KeyScope {
        roles: Some(roles).filter(|roles| !roles.is_empty()),
        allowed_categories: Some(categories).filter(|categories| !categories.is_empty()),
        pii_access,
        agents,
        workflows,
    };
    NewKey { owner, name, scope, expires_at: WallClock.now().saturating_add(*expires_in) }
}

fn format_key(report: &Json) -> String {
    let text = |name: &str| report.get(name).and_then(Json::as_str).unwrap_or_default();
    format!("{}\n\n{} of {}, valid until {}", text("api_key"), text("key"), text("owner"), text("expires_at"))
}
