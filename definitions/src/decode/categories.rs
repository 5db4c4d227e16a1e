//! `categories.yaml`.

use greenroom_protocol::CategoryId;

use super::agent::{limits, model, retry};
use super::references::{agent_ids, policies, snippets};
use super::{Decoder, MapFields, count, name, parsed, text};
use crate::category::{Categories, Category, CategoryDefaults};
use crate::yaml::{Node, NodeValue};

pub(crate) fn categories(decoder: &mut Decoder, node: &Node) -> Option<Categories> {
    let mut fields = MapFields::new(decoder, node, "the categories")?;
    let categories = fields.required(decoder, "categories", category_list);
    fields.finish(decoder);
    Some(Categories { categories: categories? })
}

fn category_list(decoder: &mut Decoder, node: &Node) -> Option<Vec<Category>> {
    let NodeValue::List(items) = &node.value else { return decoder.mistyped(node, "a list") };
    Some(items.iter().filter_map(|item| category(decoder, item)).collect())
}

/// Decodes a category. An invalid one with an id still exists, so that an agent in it is not a second problem.
fn category(decoder: &mut Decoder, node: &Node) -> Option<Category> {
    let mut fields = MapFields::new(decoder, node, "a category")?;
    let id: Option<CategoryId> = fields.required(decoder, "id", parsed);
    let name = fields.required(decoder, "name", name);
    let description = fields.or_default(decoder, "description", text);
    let agent_count = fields.optional(decoder, "agent_count", count);
    let agents = fields.or_default(decoder, "agents", agent_ids);
    let defaults = fields.or_default(decoder, "defaults", defaults);
    fields.finish(decoder);
    Some(Category {
        id: id?,
        name: name.unwrap_or_default(),
        description: description.unwrap_or_default(),
        agent_count: agent_count.flatten(),
        agents: agents.unwrap_or_default(),
        defaults: defaults.unwrap_or_default(),
    })
}

fn defaults(decoder: &mut Decoder, node: &Node) -> Option<CategoryDefaults> {
    let mut fields = MapFields::new(decoder, node, "the defaults of a category")?;
    let policies = fields.or_default(decoder, "policies", policies);
    let model = fields.optional(decoder, "model", model);
    let limits = fields.or_default(decoder, "limits", limits);
    let retry = fields.optional(decoder, "retry", retry);
    let snippets = fields.or_default(decoder, "snippets", snippets);
    fields.finish(decoder);
    Some(CategoryDefaults { policies: policies?, model: model?, limits: limits?, retry: retry?, snippets: snippets? })
}
