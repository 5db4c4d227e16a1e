//! `greenroom demo`: a team of agents writes a quarterly report from sample data. It needs no key and no
//! server.

use std::path::Path;

use greenroom_client::CallParams;
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{Cause, Clock, ErrorCode, Json, Reply, RequestId, TeamId, Values, WorkflowId};
use greenroom_runtimes::report::{self, ReportInput};

use super::args::{DemoArgs, OutputFormat};
use super::output::{Output, describe, print_note, totals};
use super::progress::Progress;
use super::run::follow_run;
use super::session::Session;
use crate::clock::{TimeOrdered, WallClock};

/// Sample data: a few hundred rows of a fictitious company.
const SALES: &[u8] = include_bytes!("../../demo/sales.csv");
/// The company.
const COMPANY: &str = "Hearth & Larder";
const TEAM: &str = "reporting_team";
const WORKFLOW: &str = "generate_quarterly_report";

/// Executes the command.
///
/// # Errors
/// A cause that prevents the request or its reply; [`ErrorCode::PathNotAllowed`] if the report cannot be written.
pub async fn demo(session: &Session, arguments: DemoArgs, output: Output) -> Result<u8, Cause> {
    print_note(&format!(
        "{TEAM} writes the report of {COMPANY} for {}; every message is authorized and audited",
        arguments.quarter
    ));
    let reply = run(session, &arguments).await?;
    if let Some(cause) = &reply.error {
        if output.format() != OutputFormat::Table {
            output.reply(&reply);
        }
        print_note(&format!("error: {}", describe(cause)));
        return Ok(reply.exit_code());
    }
    let written = write(session, &arguments, &reply)?;
    let document = serde_json::json!({ "reply": reply, "report": written });
    output.document(&document, || {
        let paths: Vec<_> = written.iter().map(|path| format!("  {path}")).collect();
        format!("\nThe report:\n{}\n\n{}", paths.join("\n"), totals(&reply))
    });
    if reply.metadata.model.as_deref().is_some_and(|model| model.starts_with("offline")) {
        print_note("no API key is set: the provider `offline` extracted the texts; no language model wrote them");
    }
    Ok(0)
}

async fn run(session: &Session, arguments: &DemoArgs) -> Result<Reply, Cause> {
    let invalid = |error: greenroom_protocol::id::IdError| Cause::new(ErrorCode::Internal, error.to_string());
    let sales = session.store_artifact(SALES.to_vec(), "text/csv", "sales.csv").await?;
    let text = |text: &str| Json::from(text);
    let params = CallParams {
        inputs: Values::from([("data_source".to_owned(), sales.to_json())]),
        context: Values::from([
            ("quarter".to_owned(), text(&arguments.quarter)),
            ("company".to_owned(), text(COMPANY)),
        ]),
        options: CallOptions { model: arguments.model.clone(), cost_max: None },
        detach: false,
    };
    let request = RequestId::from_u128(greenroom_protocol::IdGenerator::next_id(&TimeOrdered));
    let client = session.client().with_request_id(request.clone());
    let (team, workflow) = (TeamId::new(TEAM).map_err(invalid)?, WorkflowId::new(WORKFLOW).map_err(invalid)?);
    follow_run(&session.client(), &request, Progress::always(), client.run_team(team, workflow, params)).await
}

/// Writes the report as Markdown and as one HTML page; returns their paths.
fn write(session: &Session, arguments: &DemoArgs, reply: &Reply) -> Result<Vec<String>, Cause> {
    let report = report::write(&ReportInput {
        company: Some(COMPANY),
        run: &reply.id,
        workflow: WORKFLOW,
        outputs: &reply.outputs,
        facts: None,
        metadata: &reply.metadata,
        policy: session.policy_revision().as_deref(),
        at: WallClock.now(),
    });
    let dir = &arguments.out;
    let unwritable = |path: &Path, error: std::io::Error| {
        Cause::new(ErrorCode::PathNotAllowed, format!("{} cannot be written: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, error))?;
    let mut written = Vec::new();
    for (name, text) in [("report.md", report.markdown), ("report.html", report.html)] {
        let path = std::path::absolute(dir.join(name)).map_err(|error| unwritable(dir, error))?;
        std::fs::write(&path, text).map_err(|error| unwritable(&path, error))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}
