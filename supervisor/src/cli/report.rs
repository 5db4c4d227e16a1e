//! The report of a run, from what is recorded of it: `demo`, `run workflow|team --report` and `runs report`
//! write the same two files.

use std::path::{Path, PathBuf};

use greenroom_client::Client;
use greenroom_protocol::{ArtifactRef, Cause, Clock, ErrorCode, Json, Reply, RunId, Values};
use greenroom_runtimes::report::{self, Report, ReportInput};

use super::artifacts::{fetch, require_new, unwritable};
use super::output::Output;
use super::session::Session;
use crate::clock::WallClock;

/// Bytes of the stored outputs that a report is written from, together; what exceeds them is no text to read.
const OUTPUTS_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The directory of a report.
pub(super) struct ReportDir {
    markdown: PathBuf,
    html: PathBuf,
}

impl ReportDir {
    /// Creates the directory. Its files must not exist, unless they are to be replaced.
    ///
    /// # Errors
    /// [`ErrorCode::PathNotAllowed`] if it cannot be written to; [`ErrorCode::InvalidInput`] if a file exists.
    pub(super) fn prepare(dir: &Path, replaces: bool) -> Result<Self, Cause> {
        std::fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
        let dir = std::path::absolute(dir).map_err(|error| unwritable(dir, &error))?;
        // Checked here, since a run that is paid for may follow.
        require_writable(&dir)?;
        let report = Self { markdown: dir.join("report.md"), html: dir.join("report.html") };
        if !replaces {
            require_new(&report.markdown)?;
            require_new(&report.html)?;
        }
        Ok(report)
    }

    fn write(&self, report: &Report) -> Result<Vec<String>, Cause> {
        let mut written = Vec::new();
        for (path, text) in [(&self.markdown, &report.markdown), (&self.html, &report.html)] {
            std::fs::write(path, text).map_err(|error| unwritable(path, &error))?;
            written.push(path.display().to_string());
        }
        Ok(written)
    }
}

/// Creates and removes a file, to learn whether the directory can be written to.
fn require_writable(dir: &Path) -> Result<(), Cause> {
    let path = dir.join(format!(".greenroom-{}", std::process::id()));
    let created = std::fs::File::create_new(&path).and_then(|_| std::fs::remove_file(&path));
    created.map_err(|error| unwritable(dir, &error))
}

/// Executes `runs report`.
///
/// # Errors
/// [`ErrorCode::NoReport`]; those of the query and of the directory.
pub(super) async fn report(session: &Session, run: &RunId, out: &Path, output: Output) -> Result<u8, Cause> {
    // The run is read first: a run without a report leaves no directory.
    let report = read(&session.client(), run).await?;
    let written = ReportDir::prepare(out, false)?.write(&report)?;
    output.document(&serde_json::json!({ "run": run, "report": written }), || written.join("\n"));
    Ok(0)
}

/// Writes the report of a run into a prepared directory, and returns the paths of its files.
///
/// # Errors
/// As [`report`].
pub(super) async fn write(session: &Session, run: &RunId, dir: &ReportDir) -> Result<Vec<String>, Cause> {
    dir.write(&read(&session.client(), run).await?)
}

/// Makes the report from the record of the run.
async fn read(client: &Client, run: &RunId) -> Result<Report, Cause> {
    let record = client.run_record(run.clone()).await?;
    if let Some(cause) = record.error {
        return Err(cause);
    }
    let member = |name: &str| {
        let run = record.outputs.get("run")?;
        run.get(name)?.as_str().map(str::to_owned)
    };
    let reply = record.outputs.get("reply").cloned().unwrap_or_default();
    let reply: Option<Reply> = serde_json::from_value(reply).map_err(|error| {
        Cause::new(ErrorCode::InvalidRequest, format!("the record of {run} cannot be read: {error}"))
    })?;
    let Some(reply) = reply else {
        let status = member("status").unwrap_or_default();
        let message = format!(
            "the run {run} has the status {status}; its report can be written once it has succeeded: greenroom runs watch {run}"
        );
        return Err(no_report(message).with_details(serde_json::json!({ "status": status })));
    };
    if let Some(cause) = reply.error {
        let message = format!("the run {run} ended as {}, so it has no report: {}", reply.status.as_str(), cause.code);
        return Err(no_report(message).with_details(serde_json::json!({ "cause": cause })));
    }
    let mut loader = Loader { client, bytes_max: OUTPUTS_BYTES_MAX };
    let context = loader.load(record.outputs.get("context").cloned().unwrap_or_default()).await?;
    let outputs = loader.load_all(reply.outputs).await?;
    let input = ReportInput {
        company: context.get("company").and_then(Json::as_str),
        run: run.as_str(),
        workflow: &member("workflow_id").unwrap_or_default(),
        outputs: &outputs,
        metadata: &reply.metadata,
        at: WallClock.now(),
    };
    report::write(&input).map_err(|error| no_report(format!("the run {run}: {error}")))
}

/// Replaces references to artifacts by their content, if it is JSON or text.
struct Loader<'c> {
    client: &'c Client,
    /// Bytes that may still be loaded.
    bytes_max: u64,
}

impl Loader<'_> {
    async fn load_all(&mut self, outputs: Values) -> Result<Values, Cause> {
        let mut loaded = Values::new();
        for (name, value) in outputs {
            loaded.insert(name, self.load(value).await?);
        }
        Ok(loaded)
    }

    async fn load(&mut self, value: Json) -> Result<Json, Cause> {
        let Some(artifact) = ArtifactRef::from_json(&value).filter(|artifact| artifact.bytes <= self.bytes_max) else {
            return Ok(value);
        };
        let is_json = artifact.media_type.starts_with("application/json");
        if !is_json && !artifact.media_type.starts_with("text/plain") {
            return Ok(value);
        }
        let bytes = fetch(self.client, artifact.hash, self.bytes_max).await?;
        self.bytes_max = self.bytes_max.saturating_sub(bytes.len() as u64);
        let invalid = |error: String| {
            Cause::new(ErrorCode::InvalidData, format!("the artifact {} cannot be read: {error}", artifact.hash))
        };
        if is_json {
            return serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()));
        }
        String::from_utf8(bytes).map(Json::String).map_err(|error| invalid(error.to_string()))
    }
}

fn no_report(message: String) -> Cause {
    Cause::new(ErrorCode::NoReport, message)
}
