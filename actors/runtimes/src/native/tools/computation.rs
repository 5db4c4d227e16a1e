//! What every computed tool shares: typed arguments and a typed result, whose JSON Schemas are derived from their
//! types, and the bound on the size of the arguments. A computation reads no file and no clock, so the same arguments
//! always have the same result.

use std::marker::PhantomData;

use async_trait::async_trait;
use greenroom_actors::handler::{FileAccess, HandlerMode};
use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::value::size_bytes;
use greenroom_protocol::{Cause, ErrorCode, Json};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Maximum size of the arguments of one call, as JSON.
const ARGUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// A tool that is a function of its arguments.
pub(crate) trait Computation: Send + Sync + 'static {
    /// The arguments; an unknown one is rejected.
    type Arguments: DeserializeOwned + JsonSchema;
    /// The result.
    type Output: Serialize + JsonSchema;
    /// The name of the tool, without `native:`.
    const NAME: &'static str;
    /// What it computes, for the model that may call it.
    const DESCRIPTION: &'static str;

    /// Computes the result.
    ///
    /// # Errors
    /// `invalid_input`, with a message that the model may read; `payload_too_large` beyond a bound.
    fn compute(arguments: Self::Arguments) -> Result<Self::Output, Cause>;
}

/// The tool of a computation.
pub(crate) struct Computed<C>(PhantomData<fn() -> C>);

impl<C> Computed<C> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<C: Computation> Tool for Computed<C> {
    fn name(&self) -> &str {
        C::NAME
    }

    fn description(&self) -> &str {
        C::DESCRIPTION
    }

    fn parameters(&self) -> Json {
        schema_of::<C::Arguments>()
    }

    fn result(&self) -> Json {
        schema_of::<C::Output>()
    }

    fn mode(&self) -> HandlerMode {
        HandlerMode::Blocking
    }

    async fn call(&self, input: &ToolInput, _: &FileAccess) -> Result<Json, Cause> {
        compute_json::<C>(Json::Object(input.arguments.clone().into_iter().collect()))
    }
}

/// Computes the result of arguments as they are sent.
///
/// # Errors
/// As [`Computation::compute`]; `invalid_input` if the arguments are not those of the tool.
pub(crate) fn compute_json<C: Computation>(arguments: Json) -> Result<Json, Cause> {
    let bytes = size_bytes(&arguments);
    if bytes > ARGUMENT_BYTES_MAX {
        return Err(too_large(format!("the arguments have {bytes} bytes, at most {ARGUMENT_BYTES_MAX} are read")));
    }
    let arguments = serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))?;
    let output = C::compute(arguments)?;
    serde_json::to_value(output).map_err(|error| Cause::new(ErrorCode::HandlerFailed, error.to_string()))
}

/// The cause for arguments that have no result.
pub(crate) fn invalid(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::InvalidInput, message)
}

/// The cause for arguments beyond a bound.
pub(crate) fn too_large(message: impl Into<String>) -> Cause {
    Cause::new(ErrorCode::PayloadTooLarge, message)
}

/// Rejects more than `count_max` items.
///
/// # Errors
/// `payload_too_large`.
pub(crate) fn require_at_most(subject: &str, count: usize, count_max: usize) -> Result<(), Cause> {
    if count > count_max {
        return Err(too_large(format!("there are {count} {subject}, at most {count_max} are read")));
    }
    Ok(())
}

/// Rounds a result to this many digits after the point, so that equal inputs print equally.
pub(crate) fn round_to(value: f64, digits: u8) -> f64 {
    let factor = 10_f64.powi(i32::from(digits));
    let scaled = value * factor;
    if scaled.is_finite() { scaled.round() / factor } else { value }
}

/// The JSON Schema of a type, in the form that every provider of models accepts: without references, and an optional
/// member has the schema of its value, because a caller may omit it.
pub(super) fn schema_of<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    if let Json::Object(members) = &mut schema {
        members.remove("title");
        members.remove("description");
    }
    schema
}

/// Replaces what says that a value may be null, and removes the widths of numbers.
fn simplify(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            if let Some(Json::Array(types)) = members.get("type")
                && let [single, null] = types.as_slice()
                && null == "null"
            {
                let single = single.clone();
                members.insert("type".to_owned(), single);
            }
            if let Some(Json::Array(choices)) = members.get("anyOf")
                && let [Json::Object(single), null] = choices.as_slice()
                && null.get("type").is_some_and(|kind| kind == "null")
            {
                let single = single.clone();
                members.remove("anyOf");
                for (name, value) in single {
                    members.entry(name).or_insert(value);
                }
            }
            members.retain(|name, value| match name.as_str() {
                "format" => !value.is_string(),
                "default" => !value.is_null(),
                _ => true,
            });
            members.values_mut().for_each(simplify);
        }
        Json::Array(items) => items.iter_mut().for_each(simplify),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::{ARGUMENT_BYTES_MAX, Cause, Computation, Computed, Tool, compute_json, round_to};

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Text {
        /// The text.
        text: String,
        #[serde(default)]
        limit: Option<u32>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Length {
        characters: usize,
    }

    struct Count;

    impl Computation for Count {
        type Arguments = Text;
        type Output = Length;
        const NAME: &'static str = "count";
        const DESCRIPTION: &'static str = "Counts.";

        fn compute(arguments: Text) -> Result<Length, Cause> {
            Ok(Length { characters: arguments.text.chars().take(arguments.limit.unwrap_or(99) as usize).count() })
        }
    }

    #[test]
    fn the_schemas_are_those_of_the_types() {
        let tool = Computed::<Count>::new();
        let parameters = tool.parameters();
        assert_eq!(parameters["properties"]["text"], json!({ "type": "string", "description": "The text." }));
        assert_eq!(parameters["properties"]["limit"]["type"], json!("integer"), "{parameters}");
        assert_eq!((&parameters["required"], &parameters["additionalProperties"]), (&json!(["text"]), &json!(false)));
        assert_eq!(tool.result()["properties"]["characters"]["type"], json!("integer"));
    }

    #[test]
    fn arguments_that_do_not_fit_are_rejected_by_name() {
        assert_eq!(compute_json::<Count>(json!({ "text": "äb", "limit": null })), Ok(json!({ "characters": 2 })));
        for (arguments, word) in [
            (json!({}), "text"),
            (json!({ "text": 1 }), "string"),
            (json!({ "text": "a", "size": 1 }), "size"),
            (json!({ "text": "a", "limit": -1 }), "-1"),
        ] {
            let cause = compute_json::<Count>(arguments).unwrap_err();
            assert!(cause.code == ErrorCode::InvalidInput && cause.message.contains(word), "{cause}");
        }
        let long = "a".repeat(ARGUMENT_BYTES_MAX as usize);
        assert_eq!(compute_json::<Count>(json!({ "text": long })).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }

    #[test]
    fn a_result_is_rounded_half_away_from_zero() {
        assert_eq!((round_to(2.5, 0), round_to(-0.125, 2), round_to(f64::MAX, 6)), (3.0, -0.13, f64::MAX));
    }
}
