//! `native.data_collection`: a file → the facts about a period of it.

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, Handler, HandlerInput, HandlerMode};
use greenroom_protocol::{Cause, ErrorCode, Values};

use super::data_source;

/// The handler.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataCollection;

#[async_trait]
impl Handler for DataCollection {
    fn name(&self) -> &str {
        "native.data_collection"
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn run(&self, input: &HandlerInput, files: &FileAccess) -> Result<Values, Cause> {
        let options = data_source::read_options(&[&input.inputs])?;
        let Some(source) = data_source::find_source(&input.inputs) else {
            let message = "the file is given as `data_source`: a path within the allowed folders, or an artifact";
            return Err(Cause::new(ErrorCode::MissingInput, message));
        };
        let facts = data_source::load_facts(files, source, &options).await?;
        let facts = serde_json::to_value(facts)
            .map_err(|_| Cause::new(ErrorCode::HandlerFailed, "the facts cannot be written as JSON"))?;
        Ok([("raw_data".to_owned(), facts)].into())
    }
}
