//! The result that `--keep` names. It is written also if the evaluation does not end, so that what was paid for is not lost.

use std::mem;
use std::path::{Path, PathBuf};

use greenroom_protocol::Cause;

use super::outcome::{Evaluation, ExampleResult};
use super::{internal, write};
use crate::cli::output::{Output, print_note};

/// A result that is being collected. If it is dropped before it is finished, because of an error or of a signal, the
/// examples that have ended are written, and the result is marked as incomplete.
pub(super) struct StoredResult {
    evaluation: Evaluation,
    /// Where it is written; `None` if it is not kept, or was written.
    path: Option<PathBuf>,
    output: Output,
}

impl StoredResult {
    /// A result without examples.
    pub(super) fn new(model: Option<String>, path: Option<PathBuf>, output: Output) -> Self {
        Self { evaluation: Evaluation { model, ..Evaluation::default() }, path, output }
    }

    /// Adds an example that has ended.
    pub(super) fn add(&mut self, result: ExampleResult) {
        self.evaluation.results.push(result);
    }

    /// Writes the whole result, and returns it.
    ///
    /// # Errors
    /// [`greenroom_protocol::ErrorCode::PathNotAllowed`] if the file cannot be written.
    pub(super) async fn finish(mut self) -> Result<Evaluation, Cause> {
        let evaluation = mem::take(&mut self.evaluation);
        if let Some(path) = self.path.take() {
            write(&path, to_text(&evaluation).map_err(internal)?).await?;
        }
        Ok(evaluation)
    }
}

impl Drop for StoredResult {
    fn drop(&mut self) {
        let Some(path) = self.path.take().filter(|path| is_stored_in(path)) else { return };
        if self.evaluation.results.is_empty() {
            return;
        }
        self.evaluation.is_incomplete = true;
        let written = to_text(&self.evaluation)
            .map_err(|error| error.to_string())
            .and_then(|text| std::fs::write(&path, text).map_err(|error| error.to_string()));
        let path = path.display();
        match written {
            Ok(()) => {
                let count = self.evaluation.results.len();
                self.output
                    .note(&format!("{path} has the {count} examples that have ended, and is marked as incomplete"));
            }
            Err(error) => print_note(&format!("error: {path}: {error}")),
        }
    }
}

/// True for a file, and for one that is not there yet. A pipe that nobody reads would block the end of the command.
fn is_stored_in(path: &Path) -> bool {
    path.metadata().map_or(true, |metadata| metadata.is_file())
}

fn to_text(evaluation: &Evaluation) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(evaluation)? + "\n")
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::AgentId;

    use super::*;
    use crate::cli::args::OutputFormat;

    fn collected(path: &Path, examples: usize) -> StoredResult {
        let mut stored = StoredResult::new(None, Some(path.to_owned()), Output::new(OutputFormat::Json, true));
        for number in 0..examples {
            stored.add(ExampleResult::new(&AgentId::new("a").unwrap(), number, None));
        }
        stored
    }

    fn read(path: &Path) -> Evaluation {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_has_ended_is_stored_and_only_a_finished_result_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        drop(collected(&path, 0));
        assert!(!path.exists(), "a result without examples replaces nothing");
        drop(collected(&path, 2));
        assert_eq!((read(&path).results.len(), read(&path).is_incomplete), (2, true));
        let finished = collected(&path, 3).finish().await.unwrap();
        assert_eq!(read(&path), finished);
        assert_eq!((finished.results.len(), finished.is_incomplete), (3, false));
    }
}
