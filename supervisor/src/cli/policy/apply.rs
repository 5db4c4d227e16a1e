//! `greenroom policy apply`: makes a policy that of every pod.

use greenroom_protocol::Cause;
use greenroom_protocol::request::Maintenance;

use crate::cli::db::location;
use crate::cli::output::Output;
use crate::cli::runs::format_report;
use crate::cli::session::Session;

/// Executes the command.
///
/// # Errors
/// The cause of a denied or rejected request.
pub async fn apply(session: &Session, source: &str, output: Output) -> Result<u8, Cause> {
    let report = session.maintain(Maintenance::ApplyPolicy { from: location(source)? }).await?;
    output.document(&report, || format_report(&report));
    Ok(0)
}
