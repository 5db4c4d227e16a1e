//! The raw inputs of a request become values of the types that its definition declares. Whoever types them, as a person
//! on a command line does, needs no query of the definition before the request.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_actors::definition_resolver::DefinitionResolver;
use greenroom_actors::handler::unknown_artifact_error;
use greenroom_definitions::types::{ValueType, parse_cli_value};
use greenroom_definitions::{Field, FieldType, Workflow};
use greenroom_protocol::limits::DOCUMENT_BYTES_MAX;
use greenroom_protocol::raw_input::{RawFile, RawInput, RawItem};
use greenroom_protocol::{Cause, ErrorCode, Json, Request, WorkflowId, strict_json};
use greenroom_registry::artifacts::{ArtifactOwner, ArtifactStore};
use greenroom_rego::Authenticated;

/// The declared types of inputs, by name.
type Types = BTreeMap<String, ValueType>;

/// Types raw inputs.
pub struct RawInputs {
    pub(crate) definitions: Arc<dyn DefinitionResolver>,
    pub(crate) artifacts: Arc<dyn ArtifactStore>,
}

impl RawInputs {
    /// Replaces each raw input of a user's own request by its value. A file that is stored for it is an artifact of the
    /// user's tenant, as one that was uploaded before; if the request is then rejected, it is swept.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidInput`] if an input is not of its type; those of the catalogue and of the store.
    pub async fn resolve(&self, request: &mut Authenticated) -> Result<(), Cause> {
        let raw_inputs = request.raw_inputs();
        if raw_inputs.is_empty() {
            return Ok(());
        }
        let types = self.types(request.request()).await?;
        let owner = ArtifactOwner { tenant: request.principal().id.tenant.clone(), personal_data: false };
        for (name, RawInput(items)) in raw_inputs {
            let value = self.value(&owner, &name, items, types.get(&name)).await?;
            request.set_raw_input(&name, value);
        }
        Ok(())
    }

    async fn types(&self, request: &Request) -> Result<Types, Cause> {
        match request {
            Request::Invoke(invoke) => {
                let agent = self.definitions.agent(&invoke.agent, None).await?;
                Ok(types(&agent.spec().inputs))
            }
            Request::StartRun(start) => self.workflow_types(&start.workflow).await,
            Request::StartTeam(start) => self.workflow_types(&start.workflow).await,
            Request::SignalRun(_)
            | Request::ResumeRun(_)
            | Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Query(_)
            | Request::Maintain(_) => Ok(Types::new()),
        }
    }

    async fn workflow_types(&self, id: &WorkflowId) -> Result<Types, Cause> {
        let workflow = self.definitions.workflow(id, None).await?;
        let mut all = self.step_types(&workflow);
        all.extend(types(&workflow.spec().inputs));
        Ok(all)
    }

    /// The types of the inputs that agents of the steps declare: whoever passes an input to the workflow that only they
    /// declare passes it to them. If two agents declare one name, the first of the plan counts.
    fn step_types(&self, workflow: &Workflow) -> Types {
        let catalogue = self.definitions.catalogue();
        let agents = workflow.spec().steps.iter().filter_map(|step| catalogue.agent(step.agent.as_ref()?));
        let mut all = Types::new();
        for field in agents.flat_map(|agent| &agent.spec().inputs) {
            all.entry(field.name.clone()).or_insert_with(|| field.value_type.clone());
        }
        all
    }

    async fn value(
        &self,
        owner: &ArtifactOwner,
        name: &str,
        mut items: Vec<RawItem>,
        value_type: Option<&ValueType>,
    ) -> Result<Json, Cause> {
        let kind = value_type.map(|value_type| value_type.kind);
        if items.len() == 1
            && let Some(item) = items.pop()
        {
            return self.item(owner, name, item, kind).await;
        }
        let Some(list) = value_type.filter(|value_type| value_type.kind == FieldType::Array) else {
            return Err(repeated(name, kind));
        };
        let item_kind = list.items.as_deref().map_or(FieldType::Text, |item| item.kind);
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.item(owner, name, item, Some(item_kind)).await?);
        }
        Ok(Json::Array(values))
    }

    async fn item(
        &self,
        owner: &ArtifactOwner,
        name: &str,
        item: RawItem,
        kind: Option<FieldType>,
    ) -> Result<Json, Cause> {
        match (item, kind.filter(|kind| *kind != FieldType::File)) {
            (RawItem::Text(text), _) => parse(name, &text, kind),
            (RawItem::File(file), Some(kind)) => parse(name, &file.content, Some(kind)),
            (RawItem::File(RawFile { content, media_type, name }), None) => {
                let stored = self.artifacts.put(owner, content.into_bytes(), &media_type, &name).await;
                Ok(stored.map_err(|error| error.cause())?.to_json())
            }
            // A text above the limit of every policy remains an artifact, whose size is a fact for policy.
            (RawItem::Artifact(artifact), Some(kind)) if artifact.bytes <= DOCUMENT_BYTES_MAX => {
                let bytes = self.artifacts.get(&owner.tenant, &artifact.hash, DOCUMENT_BYTES_MAX).await;
                let bytes = bytes.map_err(|error| error.cause())?;
                let bytes = bytes.ok_or_else(|| unknown_artifact_error(&artifact.hash))?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    let message = format!("the input {name} takes text, and {} is not UTF-8", artifact.name);
                    Cause::new(ErrorCode::InvalidInput, message)
                })?;
                parse(name, &text, Some(kind))
            }
            (RawItem::Artifact(artifact), _) => Ok(artifact.to_json()),
        }
    }
}

fn types(fields: &[Field]) -> Types {
    fields.iter().map(|field| (field.name.clone(), field.value_type.clone())).collect()
}

/// Parses a text as its declared type. Without one, only a list or an object is parsed as JSON: a quarter, a year or a
/// postcode remains text.
pub(crate) fn parse(name: &str, text: &str, kind: Option<FieldType>) -> Result<Json, Cause> {
    match kind {
        Some(kind) => parse_cli_value(kind, text)
            .map_err(|problem| Cause::new(ErrorCode::InvalidInput, format!("the input {name} {problem}"))),
        None if text.starts_with(['[', '{']) => match serde_json::from_str(text) {
            Ok(value) => match strict_json::check(text.as_bytes()) {
                Ok(()) => Ok(value),
                Err(error) => Err(Cause::new(ErrorCode::InvalidInput, format!("the value of {name}: {error}"))),
            },
            Err(_) => Ok(Json::from(text)),
        },
        None => Ok(Json::from(text)),
    }
}

/// The cause of a name that has several values and takes one.
pub(crate) fn repeated(name: &str, kind: Option<FieldType>) -> Cause {
    let reason = match kind {
        Some(kind) => format!("is {}, and takes one value", kind.described()),
        None => "takes one value; write several as a JSON list, [\"a\", \"b\"]".to_owned(),
    };
    Cause::new(ErrorCode::InvalidInput, format!("the input {name} is given more than once, but {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_parsed_as_its_declared_type() {
        assert_eq!(parse("n", "7", Some(FieldType::Integer)).unwrap(), 7);
        assert_eq!(parse("n", "7", Some(FieldType::Text)).unwrap(), "7");
        let error = parse("n", "7.5", Some(FieldType::Integer)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidInput);
        assert!(error.message.contains("the input n must be"), "{}", error.message);
    }

    #[test]
    fn without_a_type_only_lists_and_objects_are_not_text() {
        assert_eq!(parse("q", "Q4 2024", None).unwrap(), "Q4 2024");
        assert_eq!(parse("year", "2024", None).unwrap(), "2024");
        assert_eq!(parse("list", "[1, 2]", None).unwrap(), serde_json::json!([1, 2]));
        assert_eq!(parse("odd", "[not json", None).unwrap(), "[not json");
    }

    #[test]
    fn a_value_that_can_be_read_in_two_ways_is_rejected_with_its_member() {
        let twice = "[{\"id\": 1, \"id\": 2}]";
        for kind in [None, Some(FieldType::Array)] {
            let error = parse("rows", twice, kind).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidInput);
            assert!(error.message.contains("rows") && error.message.contains("`[0].id` occurs twice"), "{error}");
        }
        let error = parse("id", "18446744073709551616", Some(FieldType::Number)).unwrap_err();
        assert!(error.message.contains("more digits than a number can have"), "{error}");
        assert_eq!(parse("id", "18446744073709551616", Some(FieldType::Text)).unwrap(), "18446744073709551616");
    }
}
