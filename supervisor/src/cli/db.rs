//! `greenroom db`: check the store, copy it while work goes on.

use greenroom_protocol::{Cause, Code, Json};

use super::args::DbCommand;
use super::output::Output;
use super::runs::told;
use super::session::Session;
use crate::ingress::frame::Chore;

/// Does it.
///
/// # Errors
/// What the store says.
pub async fn db(session: &Session, command: DbCommand, output: Output) -> Result<u8, Cause> {
    match command {
        DbCommand::Check => {
            let report = session.maintain(Chore::CheckStore).await?;
            output.document(&report, || told(&report));
            Ok(u8::from(report.get("sound") != Some(&Json::Bool(true))))
        }
        DbCommand::Backup { to } => {
            // The owner of the store may stand in another folder.
            let to = std::path::absolute(&to)
                .map_err(|error| Cause::new(Code::InvalidInput, format!("{}: {error}", to.display())))?;
            let report = session.maintain(Chore::BackUp { to }).await?;
            output.document(&report, || told(&report));
            Ok(0)
        }
    }
}
