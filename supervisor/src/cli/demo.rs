//! `greenroom demo`: a team of agents writes a quarterly report from sample data. It needs no key and no
//! server.

use greenroom_client::CallParams;
use greenroom_protocol::id::IdError;
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{Cause, ErrorCode, Json, Reply, RequestId, RunId, Values};
use greenroom_registry::artifacts::single_chunk;

use super::args::{DemoArgs, OutputFormat};
use super::output::{Output, describe, print_note, totals};
use super::progress::Progress;
use super::report::{self, ReportDir};
use super::run::follow_run;
use super::session::Session;
use crate::clock::TimeOrdered;

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
    output.note(&format!(
        "{TEAM} writes the report of {COMPANY} for {}; every message is authorized and audited",
        arguments.quarter
    ));
    let dir = ReportDir::prepare(&arguments.out, true)?;
    let reply = run(session, &arguments, output).await?;
    if let Some(cause) = &reply.error {
        if output.format() != OutputFormat::Table {
            output.reply(&reply);
        }
        print_note(&format!("error: {}", describe(cause)));
        return Ok(reply.exit_code());
    }
    let run = RunId::new(&*reply.id).map_err(invalid)?;
    let written = report::write(session, &run, &dir).await?;
    let document = serde_json::json!({ "reply": reply, "report": written });
    output.document(&document, || {
        let paths: Vec<_> = written.iter().map(|path| format!("  {path}")).collect();
        format!("\nThe report:\n{}\n\n{}", paths.join("\n"), totals(&reply))
    });
    if let Some(disclaimer) = &reply.metadata.disclaimer {
        output.note(&format!("no API key is set: the texts are the figures and sentences of the data {disclaimer}"));
    }
    Ok(0)
}

fn invalid(error: IdError) -> Cause {
    Cause::new(ErrorCode::Internal, error.to_string())
}

async fn run(session: &Session, arguments: &DemoArgs, output: Output) -> Result<Reply, Cause> {
    let sales = session.store_artifact(single_chunk(SALES), "text/csv", "sales.csv").await?;
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
    let client = session.client();
    let reply = client.team(TEAM).workflow(WORKFLOW).params(params).request_id(request.clone()).send();
    follow_run(session, &request, Progress::new(output), reply).await
}
