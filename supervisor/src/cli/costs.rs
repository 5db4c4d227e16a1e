//! `greenroom costs`: model costs by day, user, agent and workflow. Estimated costs and costs at the
//! assumed price of a tier have columns of their own.

use greenroom_protocol::{Cause, Clock, Json, MicroUsd};

use super::output::{Output, table};
use super::session::Session;
use crate::clock::WallClock;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn costs(session: &Session, since: Option<humantime::Duration>, output: Output) -> Result<u8, Cause> {
    let since = since.map(|age| WallClock.now().saturating_sub(age.into()));
    let reply = session.client().costs(since).await?;
    Ok(output.outputs(&reply, |outputs| {
        let rows = outputs.get("costs").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let columns = [
            ("day", "DAY"),
            ("tenant", "TENANT"),
            ("user", "USER"),
            ("agent_id", "AGENT"),
            ("workflow_id", "WORKFLOW"),
            ("calls", "CALLS"),
            ("tokens.input", "TOKENS IN"),
            ("tokens.output", "TOKENS OUT"),
            ("cost_usd", "USD"),
            ("calls_estimated", "ESTIMATED"),
            ("estimated_usd", "USD ESTIMATED"),
            ("calls_assumed", "PRICE ASSUMED"),
            ("assumed_usd", "USD ASSUMED"),
        ];
        let total = outputs.get("total_micro_usd").and_then(Json::as_u64);
        let total = total.map_or_else(|| "unknown".to_owned(), |micros| MicroUsd(micros).to_string());
        format!("{}\n\ntotal {total}", table(rows, &columns))
    }))
}
