//! `greenroom db`: check the store, copy it while work goes on. A store that cannot be opened is
//! examined as it lies there.

use greenroom_protocol::{Cause, ErrorCode, Json};

use super::args::{AuditCommand, Command, DbCommand};
use super::output::Output;
use super::runs::format_report;
use super::session::Session;
use crate::admin::{chain_json, check_json};
use crate::compose::stores;
use crate::config::Config;
use crate::data_dir::DataDirLock;
use crate::ingress::frame::AdminCommand;

/// Does it.
///
/// # Errors
/// What the store says.
pub async fn db(session: &Session, command: DbCommand, output: Output) -> Result<u8, Cause> {
    match command {
        DbCommand::Check => {
            let report = session.admin(AdminCommand::CheckStore).await?;
            output.document(&report, || format_report(&report));
            Ok(u8::from(report.get("sound") != Some(&Json::Bool(true))))
        }
        DbCommand::Backup { to } => {
            // The owner of the store may stand in another folder.
            let to = std::path::absolute(&to)
                .map_err(|error| Cause::new(ErrorCode::InvalidInput, format!("{}: {error}", to.display())))?;
            let report = session.admin(AdminCommand::Backup { to }).await?;
            output.document(&report, || format_report(&report));
            Ok(0)
        }
    }
}

/// What `db check` and `audit verify` say of a store that cannot be opened: their own report, with the
/// refusal in it. Any other command, and a store in which nothing is wrong, is left with the refusal.
///
/// # Errors
/// The refusal.
pub async fn examined(config: &Config, command: &Command, output: Output, refused: Cause) -> Result<u8, Cause> {
    let wants_all = match command {
        Command::Db(DbCommand::Check) => true,
        Command::Audit(AuditCommand::Verify) => false,
        _ => return Err(refused),
    };
    // Nobody may write meanwhile.
    let Ok(_owned) = DataDirLock::acquire(&config.data_dir) else { return Err(refused) };
    let Ok(Some(found)) = stores::examine(config).await else { return Err(refused) };
    let mut report = match found.audit {
        _ if found.is_ok() => return Err(refused),
        _ if wants_all => check_json(&found),
        Some(verdict) if !verdict.is_valid() => chain_json(&verdict),
        Some(_) | None => return Err(refused),
    };
    if let Some(members) = report.as_object_mut() {
        members.insert("refused".to_owned(), Json::String(refused.to_string()));
    }
    output.document(&report, || format_report(&report));
    Ok(refused.code.exit_code())
}
