//! `greenroom audit`: lists, shows, verifies and prunes audit entries.

pub mod export;
pub mod public_key;

use greenroom_protocol::audit::{Event, Record, Restored};
use greenroom_protocol::request::{Maintenance, Page};
use greenroom_protocol::{Cause, Clock, Json, Reply};
use serde_json::json;

use super::args::AuditCommand;
use super::catalogue::print_next_page;
use super::output::{Output, table};
use super::runs::format_report;
use super::session::Session;
use crate::clock::WallClock;

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply.
pub async fn audit(session: &Session, command: AuditCommand, output: Output) -> Result<u8, Cause> {
    let client = session.client();
    match command {
        AuditCommand::List { limit, after } => Ok(print_records(&client.audit(Page { after, limit }).await?, output)),
        AuditCommand::Show { id } => Ok(print_records(&client.audit_entry(id).await?, output)),
        AuditCommand::Verify(_) => {
            let report = session.maintain(Maintenance::VerifyAudit).await?;
            output.document(&report, || format_report(&report));
            Ok(u8::from(report.get("valid") != Some(&Json::Bool(true))))
        }
        AuditCommand::Prune { older_than } => {
            let before = WallClock.now().saturating_sub(older_than.into());
            let report = session.maintain(Maintenance::PruneAudit { before }).await?;
            output.document(&report, || format_report(&report));
            Ok(0)
        }
        // These need no session, and the caller executes them.
        AuditCommand::ExportKey { .. } | AuditCommand::Export { .. } => Ok(0),
    }
}

fn print_records(reply: &Reply, output: Output) -> u8 {
    let exit_code = output.outputs(reply, |outputs| {
        let records = outputs.get("records").and_then(Json::as_array);
        let rows: Vec<Json> = records.into_iter().flatten().filter_map(row).collect();
        let columns = [
            ("number", "NO"),
            ("at", "AT"),
            ("event", "EVENT"),
            ("user", "USER"),
            ("caller", "CALLER"),
            ("action", "ACTION"),
            ("resource", "RESOURCE"),
            ("result", "RESULT"),
        ];
        table(&rows, &columns)
    });
    print_next_page(reply, output);
    exit_code
}

/// What `audit show` names a record: its number, after that of its chain if there are several.
fn position(record: &Json) -> String {
    let part = |name| record.get(name).and_then(Json::as_u64);
    let number = part("number").unwrap_or_default();
    part("chain").map_or_else(|| number.to_string(), |chain| format!("{chain}/{number}"))
}

/// The row of a record in the table format.
fn row(listed: &Json) -> Option<Json> {
    let record: Record = serde_json::from_value(listed.clone()).ok()?;
    let (number, at) = (position(listed), record.at);
    let opened_position = |opened: u64| listed.get("opened").map_or_else(|| opened.to_string(), position);
    Some(match record.event {
        Event::Opened(opening) => json!({
            "number": number, "at": at, "event": "opened", "user": opening.user, "caller": opening.caller,
            "action": opening.action, "resource": opening.resource, "result": opening.request,
        }),
        Event::Closed { opened, closing } => {
            let code = closing.code.map(|code| format!(" {code}")).unwrap_or_default();
            let reasons = if closing.code.is_some() { format!(" {}", closing.checks.join(",")) } else { String::new() };
            json!({
                "number": number, "at": at, "event": format!("closed {}", opened_position(opened)),
                "result": format!("{}{code}{reasons}", closing.status.as_str()),
            })
        }
        Event::Interrupted { opened } => {
            json!({ "number": number, "at": at, "event": format!("interrupted {}", opened_position(opened)) })
        }
        Event::System { subject, message } => {
            json!({ "number": number, "at": at, "event": "system", "resource": subject, "result": message })
        }
        Event::Restored(Restored { user, backup, restored, replaced, issuer: _, tenant: _ }) => {
            let replaced = replaced.map(|record| format!(" instead of {}", record.number)).unwrap_or_default();
            let result = format!("the chain continues after record {}{replaced}", restored.number);
            json!({
                "number": number, "at": at, "event": "restored", "user": user, "resource": backup, "result": result,
            })
        }
        Event::Unknown(event) => {
            let kind = event.get("kind").and_then(Json::as_str).unwrap_or("event");
            json!({ "number": number, "at": at, "event": format!("{kind} of another release") })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(number: u64) -> Json {
        json!({
            "number": number, "previous": "0".repeat(64), "at": "2026-01-01T00:00:00Z",
            "event": { "kind": "interrupted", "opened": 16 },
        })
    }

    #[test]
    fn a_record_of_several_chains_is_named_with_its_chain() {
        let only = row(&closed(17)).expect("a record");
        assert_eq!((&only["number"], &only["event"]), (&json!("17"), &json!("interrupted 16")));
        let mut listed = closed(17);
        listed["chain"] = json!(3);
        listed["opened"] = json!({ "chain": 0, "number": 16 });
        let row = row(&listed).expect("a record");
        assert_eq!((&row["number"], &row["event"]), (&json!("3/17"), &json!("interrupted 0/16")));
    }
}
