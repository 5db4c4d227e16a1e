//! Assembles tool calls from their pieces. A piece belongs to the call with its id; without an id, to the last call with
//! its index; without either, to the last call, unless it begins another one with a name of its own.

use greenroom_actors::model::{ModelError, ToolCall};
use greenroom_protocol::Json;
use serde::de::IgnoredAny;

use super::events::malformed;
use super::surrogates::Joiner;
use crate::models::http::{tool_arguments, usage};

/// Maximum tool calls of one answer that are assembled.
const CALLS_MAX: usize = 256;
/// The members with the arguments: OpenAI's, and those of the formats in which models write calls themselves.
const ARGUMENTS: [&str; 3] = ["arguments", "parameters", "input"];

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(Vec<PartialCall>);

/// A call so far.
#[derive(Debug, Default)]
struct PartialCall {
    id: String,
    index: Option<u64>,
    name: String,
    /// The pieces of the arguments.
    text: String,
    joiner: Joiner,
    /// Arguments that are no text.
    value: Option<Json>,
}

/// One entry of a chunk.
struct Entry<'e> {
    id: Option<String>,
    index: Option<u64>,
    name: Option<&'e str>,
    arguments: &'e Json,
}

impl<'e> Entry<'e> {
    /// Reads an entry; `None` if it is no object.
    fn read(entry: &'e Json) -> Option<Self> {
        let function = entry.get("function").filter(|function| function.is_object()).unwrap_or(entry);
        let names = [function.get("name"), entry.get("function"), entry.get("name")];
        let id = match entry.get("id") {
            Some(Json::String(id)) if !id.is_empty() => Some(id.clone()),
            Some(id @ Json::Number(_)) => Some(id.to_string()),
            Some(_) | None => None,
        };
        function.is_object().then(|| Self {
            id,
            index: entry.get("index").and_then(usage::whole_number),
            name: names.into_iter().flatten().filter_map(Json::as_str).find(|name| !name.is_empty()),
            arguments: arguments(function, entry),
        })
    }

    /// True if nothing of a call is in it.
    fn is_blank(&self) -> bool {
        let has_arguments = !self.arguments.is_null() && self.arguments.as_str() != Some("");
        self.id.is_none() && self.name.is_none() && !has_arguments
    }
}

/// The arguments of an entry: some servers send them beside the function, or in another member. One that is empty is
/// used only if there is no other.
fn arguments<'e>(function: &'e Json, entry: &'e Json) -> &'e Json {
    let members = || ARGUMENTS.iter().flat_map(|name| [function.get(*name), entry.get(*name)]).flatten();
    let stated = members().find(|value| !tool_arguments::is_empty(value));
    stated.or_else(|| members().find(|value| !value.is_null())).unwrap_or(&Json::Null)
}

impl ToolCalls {
    /// True if no call has begun.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an entry of `tool_calls`, or the only call of a server that sends `function_call`.
    ///
    /// # Errors
    /// [`ModelError::MalformedResponse`] if it is no object, or if there are too many calls.
    pub(super) fn add(&mut self, entry: &Json, has_markers: bool) -> Result<(), ModelError> {
        // Gateways put empty calls into every chunk.
        if entry.is_null() {
            return Ok(());
        }
        let Some(entry) = Entry::read(entry) else { return Err(malformed("a tool call has a wrong type")) };
        let at = match self.find(&entry) {
            Some(at) => at,
            None if entry.is_blank() => return Ok(()),
            None if self.0.len() >= CALLS_MAX => {
                return Err(malformed(format!("the answer has more than {CALLS_MAX} tool calls")));
            }
            None => {
                self.0.push(PartialCall { index: entry.index, ..PartialCall::default() });
                self.0.len() - 1
            }
        };
        if let Some(call) = self.0.get_mut(at) {
            call.add(&entry, has_markers);
        }
        Ok(())
    }

    /// The call that an entry continues.
    fn find(&self, entry: &Entry<'_>) -> Option<usize> {
        if let Some(at) = entry.id.as_ref().and_then(|id| self.0.iter().rposition(|call| call.id == *id)) {
            let has_another_index = |call: &PartialCall| {
                entry.name.is_some() && call.index.zip(entry.index).is_some_and(|(one, other)| one != other)
            };
            return Some(at).filter(|at| !self.0.get(*at).is_some_and(has_another_index));
        }
        let at = match entry.index {
            Some(index) => self.0.iter().rposition(|call| call.index == Some(index))?,
            None => self.0.len().checked_sub(1)?,
        };
        let call = self.0.get(at)?;
        let continues = match (&entry.id, entry.name) {
            // Some servers make up an id for each piece.
            (_, None) => true,
            (Some(_), Some(_)) if !call.id.is_empty() => false,
            // Only the first piece of a name has the id.
            (None, Some(_)) if entry.index.is_some() && !call.id.is_empty() && !call.has_arguments() => true,
            // Some servers repeat the name in each piece.
            (Some(_) | None, Some(name)) => call.name.is_empty() || call.name == name && !call.is_complete(entry),
        };
        continues.then_some(at)
    }

    /// Finishes the calls. Each has an id that no other has: the results refer to it.
    pub(super) fn finish(&mut self) -> Vec<ToolCall> {
        let mut finished: Vec<ToolCall> = Vec::new();
        for (number, call) in std::mem::take(&mut self.0).into_iter().enumerate() {
            let PartialCall { id, name, mut text, mut joiner, value, .. } = call;
            text.push_str(&joiner.finish().unwrap_or_default());
            let is_used = |id: &str| finished.iter().any(|other| other.id == id);
            let id = match id {
                id if !id.is_empty() && !is_used(&id) => id,
                _ => (number..).map(|number| format!("call_{number}")).find(|id| !is_used(id)).unwrap_or_default(),
            };
            let arguments = tool_arguments::decode_parts(value, text);
            finished.push(ToolCall { id, name, arguments });
        }
        finished
    }
}

impl PartialCall {
    fn add(&mut self, entry: &Entry<'_>, has_markers: bool) {
        if self.id.is_empty() {
            self.id = entry.id.clone().unwrap_or_default();
        }
        match entry.name {
            None => {}
            // A piece may have the whole name so far.
            Some(name) if self.name.is_empty() || !self.has_arguments() && name.starts_with(&self.name) => {
                name.clone_into(&mut self.name);
            }
            Some(_) if self.has_arguments() => {}
            Some(name) => self.name.push_str(name),
        }
        self.index = self.index.or(entry.index);
        match entry.arguments {
            Json::Null => {}
            Json::String(piece) => self.text.push_str(&self.joiner.join(piece.clone(), has_markers)),
            value @ (Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
                if self.value.is_none() || !tool_arguments::is_empty(value) {
                    self.value = Some(value.clone());
                }
            }
        }
    }

    /// True if anything of the arguments has arrived.
    fn has_arguments(&self) -> bool {
        self.value.is_some() || !self.text.is_empty()
    }

    /// True if the arguments are a whole document, so that this entry cannot belong to them. A text belongs to an empty
    /// object before it.
    fn is_complete(&self, entry: &Entry<'_>) -> bool {
        let has_text = entry.arguments.as_str().is_some_and(|text| !text.is_empty());
        let has_value = self.value.as_ref().is_some_and(|value| !(has_text && tool_arguments::is_empty(value)));
        has_value || serde_json::from_str::<IgnoredAny>(&self.text).is_ok()
    }
}

#[cfg(test)]
mod tests;
