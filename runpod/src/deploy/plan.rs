//! A plan: what would be created and changed for a description. Applying it does that, and nothing else.

use greenroom_protocol::{Cause, ErrorCode, Json};
use serde_json::{Map, json};

use super::api::RunPodApi;
use super::deployment::Description;
use super::difference::{compare, describe_new};
use super::price::keep_price;

/// What is done with a resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// It is created with this body.
    Create(Json),
    /// It is changed: its id, and the members that change.
    Change(String, Map<String, Json>),
    /// It is as described: its id.
    Keep(String),
}

/// One template or endpoint of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedEndpoint {
    /// The path of its collection: `/serverless` or `/templates`.
    pub collection: &'static str,
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// A line for each difference.
    pub lines: Vec<String>,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// In the order in which it would be done.
    pub steps: Vec<PlannedEndpoint>,
}

impl Plan {
    /// True if everything is as described.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.action, Action::Keep(_)))
    }
}

/// Compares a description with what RunPod has. Without an API, everything is new.
///
/// # Errors
/// Those of reading; [`ErrorCode::InvalidConfiguration`] if an endpoint would have to be another one.
pub async fn make_plan(api: Option<&RunPodApi>, description: &Description) -> Result<Plan, Cause> {
    let mut steps = Vec::new();
    let templates = description.templates.iter().map(|template| (template.name.as_str(), json!(template))).collect();
    steps.extend(plan_collection(api, "/templates", "templates", templates).await?);
    let endpoints = description.endpoints.iter().map(|endpoint| (endpoint.name.as_str(), json!(endpoint))).collect();
    steps.extend(plan_collection(api, "/serverless", "endpoints", endpoints).await?);
    Ok(Plan { steps })
}

async fn plan_collection(
    api: Option<&RunPodApi>,
    collection: &'static str,
    member: &str,
    wanted: Vec<(&str, Json)>,
) -> Result<Vec<PlannedEndpoint>, Cause> {
    let existing = match api {
        Some(api) if !wanted.is_empty() => api.list(collection, member).await?,
        Some(_) | None => Vec::new(),
    };
    wanted.into_iter().map(|(name, body)| plan_one(collection, name, body, &existing)).collect()
}

fn plan_one(collection: &'static str, name: &str, body: Json, existing: &[Json]) -> Result<PlannedEndpoint, Cause> {
    let invalid = |message: String| Err(Cause::new(ErrorCode::InvalidConfiguration, message));
    let same_name: Vec<&Json> =
        existing.iter().filter(|one| one.get("name").and_then(Json::as_str) == Some(name)).collect();
    let step = |action, lines| PlannedEndpoint { collection, name: name.to_owned(), action, lines };
    match same_name.as_slice() {
        [] => {
            let lines = describe_new(&body);
            Ok(step(Action::Create(body), lines))
        }
        [current] => {
            let Some(id) = current.get("id").and_then(Json::as_str) else {
                return invalid(format!("{name}: RunPod has it, and names no id"));
            };
            let difference = compare(current, &keep_price(body, current));
            if !difference.immutable.is_empty() {
                let changes = difference.immutable.join(", ");
                return invalid(format!("{name}: {changes} cannot be changed; describe an endpoint with another name"));
            }
            if difference.patch.is_empty() {
                return Ok(step(Action::Keep(id.to_owned()), Vec::new()));
            }
            Ok(step(Action::Change(id.to_owned(), difference.patch), difference.lines))
        }
        several => invalid(format!("{name}: RunPod has {} with this name; rename or remove the others", several.len())),
    }
}

/// Does what a plan has; returns the id of each resource by its name. It ends at the first refusal; deploying again continues.
///
/// # Errors
/// The cause of the refusal, which names the resource.
pub async fn apply_plan(api: &RunPodApi, plan: &Plan) -> Result<Vec<(String, String)>, Cause> {
    let mut ids = Vec::new();
    for PlannedEndpoint { collection, name, action, lines: _ } in &plan.steps {
        let named = |cause: Cause| Cause { message: format!("{name}: {}", cause.message), ..cause };
        let id = match action {
            Action::Keep(id) => id.clone(),
            Action::Change(id, patch) => {
                api.patch(&format!("{collection}/{id}"), &Json::Object(patch.clone())).await.map_err(named)?;
                id.clone()
            }
            Action::Create(body) => {
                let created = api.post(collection, body).await.map_err(named)?;
                created.get("id").and_then(Json::as_str).unwrap_or_default().to_owned()
            }
        };
        ids.push((name.clone(), id));
    }
    Ok(ids)
}
