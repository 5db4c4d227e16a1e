//! JSON Schemas of the files, for editors. They are generated from the types, stored in `schema/`, and
//! compared by a test.

use schemars::{JsonSchema, schema_for};

use crate::agent::AgentSpec;
use crate::capability::Capabilities;
use crate::category::Categories;
use crate::models::Models;
use crate::team::TeamSpec;
use crate::workflow::WorkflowSpec;

/// Each schema's file name, and its text.
#[must_use]
pub fn all() -> Vec<(&'static str, String)> {
    vec![
        ("agent.json", written::<AgentSpec>("An agent of Greenroom")),
        ("workflow.json", written::<WorkflowSpec>("A workflow of Greenroom")),
        ("team.json", written::<TeamSpec>("A team of Greenroom")),
        ("categories.json", written::<Categories>("The categories of Greenroom")),
        ("capabilities.json", written::<Capabilities>("The capabilities of Greenroom")),
        ("models.json", written::<Models>("The models of Greenroom")),
    ]
}

fn written<T: JsonSchema>(title: &str) -> String {
    let mut schema = schema_for!(T);
    schema.insert("title".to_owned(), title.into());
    // A schema is a map of texts and numbers, so writing it as JSON cannot fail.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
