//! The tools of a server, read from the pages of its list. Each page is read as plain JSON, so that one invalid tool does
//! not hide the others; what cannot be used is skipped with its reason.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_actors::tool::ToolDescription;
use greenroom_definitions::agent::is_server_tool_name;
use greenroom_protocol::Json;
use serde::Serialize;
use serde_json::json;

use super::schema;
use crate::foreign::visible_text;

/// Tools of one server.
pub(super) const TOOLS_MAX: usize = 1_000;
/// Bytes of all schemas and descriptions of a list.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a description; the rest is cut.
const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Skipped tools that are remembered with their reason; the others are only counted.
const SKIPPED_MAX: usize = 100;
/// Bytes of the name of a skipped tool.
const SKIPPED_NAME_BYTES_MAX: usize = 128;

/// A tool that no agent can use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkippedTool {
    /// Its name, cut if it is long; empty for what has none.
    pub tool: String,
    /// Why it is skipped.
    pub reason: String,
}

/// The tools of a server, by their names there.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ToolList {
    pub(super) tools: BTreeMap<String, ToolDescription>,
    pub(super) skipped: Vec<SkippedTool>,
    /// Tools that are skipped, those with a reason among them.
    pub(super) skipped_count: usize,
}

/// Reads the pages of a list.
pub(super) struct ListReader<'s> {
    server: &'s str,
    allowed: Option<BTreeSet<&'s str>>,
    list: ToolList,
    bytes: usize,
}

impl<'s> ListReader<'s> {
    /// Reads the list of this server, of which only the named tools are allowed.
    pub(super) fn new(server: &'s str, allowed: Option<&'s [String]>) -> Self {
        let allowed = allowed.map(|names| names.iter().map(String::as_str).collect());
        Self { server, allowed, list: ToolList::default(), bytes: 0 }
    }

    /// Adds a page; returns the cursor of the next one.
    ///
    /// # Errors
    /// The reason why it is no page.
    pub(super) fn add_page(&mut self, page: &Json) -> Result<Option<String>, String> {
        let tools = page.get("tools").and_then(Json::as_array).ok_or("its list has no tools")?;
        for tool in tools {
            let name = tool.get("name").and_then(Json::as_str).unwrap_or_default();
            if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(name)) {
                continue;
            }
            match self.read(name, tool) {
                Ok(description) => drop(self.list.tools.insert(name.to_owned(), description)),
                Err(reason) => self.skip(name, reason),
            }
        }
        Ok(page.get("nextCursor").and_then(Json::as_str).map(str::to_owned))
    }

    /// The list, if nothing follows.
    pub(super) fn finish(self) -> ToolList {
        self.list
    }

    /// Skips everything that would follow.
    pub(super) fn skip_rest(&mut self, reason: &str) {
        self.skip("", reason.to_owned());
    }

    fn read(&mut self, name: &str, tool: &Json) -> Result<ToolDescription, String> {
        if !is_server_tool_name(name) {
            return Err("its name has characters that no tool may have, or is too long".to_owned());
        }
        if self.list.tools.contains_key(name) {
            return Err("another tool has the same name".to_owned());
        }
        if self.list.tools.len() >= TOOLS_MAX {
            return Err(format!("the list has more than {TOOLS_MAX} tools"));
        }
        let input = tool.get("inputSchema").ok_or("it has no schema")?;
        schema::check(input)?;
        let description = tool.get("description").and_then(Json::as_str).unwrap_or_default();
        let description = visible_text(description, DESCRIPTION_BYTES_MAX);
        let bytes = input.to_string().len().saturating_add(description.len());
        if self.bytes.saturating_add(bytes) > LIST_BYTES_MAX {
            return Err(format!("the tools before it have {LIST_BYTES_MAX} bytes"));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let mut parameters = schema::visible_schema(input);
        if let Some(members) = parameters.as_object_mut() {
            // Not every API of models takes it.
            members.remove("$schema");
            members.entry("type").or_insert_with(|| json!("object"));
        }
        Ok(ToolDescription { name: format!("{}/{name}", self.server), description, parameters })
    }

    fn skip(&mut self, name: &str, reason: String) {
        self.list.skipped_count = self.list.skipped_count.saturating_add(1);
        if self.list.skipped.len() < SKIPPED_MAX {
            let tool = visible_text(name, SKIPPED_NAME_BYTES_MAX);
            self.list.skipped.push(SkippedTool { tool, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pages: &[Json], allowed: Option<&[String]>) -> ToolList {
        let mut reader = ListReader::new("files", allowed);
        for page in pages {
            reader.add_page(page).unwrap();
        }
        reader.finish()
    }

    fn reasons(list: &ToolList) -> Vec<&str> {
        list.skipped.iter().map(|skipped| skipped.reason.as_str()).collect()
    }

    #[test]
    fn one_invalid_tool_does_not_hide_the_others() {
        let page = json!({"tools": [
            {"name": "read", "description": "reads\u{1b}[31m a\u{e0041} file", "inputSchema": {"properties": {}}},
            {"name": "no schema"}, {"name": "bare"}, 5, {"name": "wrong", "inputSchema": 5},
            {"name": "read", "inputSchema": {}},
            {"name": "x".repeat(200), "inputSchema": {}},
        ], "nextCursor": "2"});
        let list = read(&[page], None);
        let read = &list.tools["read"];
        assert_eq!((list.tools.len(), read.name.as_str()), (1, "files/read"));
        assert_eq!((read.description.as_str(), &read.parameters["type"]), ("reads[31m a file", &json!("object")));
        assert_eq!(list.skipped_count, 6);
        assert!(reasons(&list)[1].contains("no schema"), "{:?}", list.skipped);
        assert_eq!(list.skipped[5].tool.len(), SKIPPED_NAME_BYTES_MAX);
    }

    #[test]
    fn ten_thousand_tools_are_bounded() {
        let tools: Vec<Json> =
            (0..10_000).map(|at| json!({"name": format!("t{at}"), "inputSchema": {"type": "object"}})).collect();
        let list = read(&[json!({"tools": tools})], None);
        assert_eq!((list.tools.len(), list.skipped.len(), list.skipped_count), (TOOLS_MAX, SKIPPED_MAX, 9_000));
        let large = json!({"description": "x".repeat(60_000)});
        let tools: Vec<Json> = (0..100).map(|at| json!({"name": format!("t{at}"), "inputSchema": large})).collect();
        let list = read(&[json!({"tools": tools})], None);
        assert!((60..80).contains(&list.tools.len()), "{}", list.tools.len());
        let long = json!({"name": "long", "description": "é".repeat(1_000_000), "inputSchema": {}});
        assert!(read(&[json!({"tools": [long]})], None).tools["long"].description.len() <= DESCRIPTION_BYTES_MAX);
    }

    #[test]
    fn a_list_has_only_the_tools_that_are_allowed_and_the_cursor_of_the_next_page() {
        let page = |name: &str| json!({"tools": [{"name": name, "inputSchema": {}}], "nextCursor": 7});
        let allowed = ["b".to_owned()];
        let list = read(&[page("a"), page("b")], Some(&allowed));
        assert_eq!((list.tools.keys().next().unwrap().as_str(), list.tools.len(), list.skipped_count), ("b", 1, 0));
        let mut reader = ListReader::new("files", None);
        assert_eq!(reader.add_page(&page("a")), Ok(None), "a cursor is a text");
        assert_eq!(reader.add_page(&json!({"tools": [], "nextCursor": "n"})), Ok(Some("n".to_owned())));
        for wrong in [json!({}), json!([]), json!({"tools": {}}), Json::Null] {
            assert!(reader.add_page(&wrong).is_err(), "{wrong}");
        }
    }
}
