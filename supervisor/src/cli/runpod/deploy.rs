//! `greenroom runpod deploy` and `status`.

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_runpod::deploy::{
    Action, DeployOptions, Description, EndpointPrice, Mapping, Plan, Requirement, RunPodApi, add_prices, apply_plan,
    make_plan, read_description, read_status,
};
use serde_json::{Value, json};

use super::api_key;
use crate::cli::args::{RunpodDeployArgs, RunpodFileArgs};
use crate::cli::output::{Output, table};

/// Executes `deploy`.
pub(super) async fn deploy(arguments: RunpodDeployArgs, output: Output) -> Result<u8, Cause> {
    let RunpodDeployArgs { file, dry_run } = arguments;
    let mut description = read(&file).await?;
    let key = api_key();
    let api = if dry_run && key.is_empty() { None } else { Some(RunPodApi::new(&file.api_url, key)?) };
    let prices = match &api {
        Some(api) => add_prices(api, &mut description).await,
        None => Vec::new(),
    };
    let plan = make_plan(api.as_ref(), &description).await?;
    let ids = match &api {
        Some(api) if !dry_run => apply_plan(api, &plan).await?,
        Some(_) | None => Vec::new(),
    };
    let mut document = plan_document(&plan, &description);
    if let Some(members) = document.as_object_mut() {
        members.insert("applied".to_owned(), json!(!dry_run));
        members.insert("prices".to_owned(), json!(prices));
        members.insert("ids".to_owned(), ids.iter().map(|(name, id)| (name.clone(), json!(id))).collect());
    }
    output.document(&document, || plan_text(&plan, &description, &prices, dry_run));
    Ok(0)
}

/// Executes `status`.
pub(super) async fn status(arguments: RunpodFileArgs, output: Output) -> Result<u8, Cause> {
    let description = read(&arguments).await?;
    let api = RunPodApi::new(&arguments.api_url, api_key())?;
    let statuses = read_status(&api, &description).await?;
    let rows: Vec<Value> = statuses.iter().filter_map(|status| serde_json::to_value(status).ok()).collect();
    let columns = [("name", "ENDPOINT"), ("id", "ID"), ("workers", "WORKERS"), ("cost_usd", "USD")];
    output.document(&json!({ "endpoints": rows }), || table(&rows, &columns));
    Ok(0)
}

async fn read(arguments: &RunpodFileArgs) -> Result<Description, Cause> {
    let path = &arguments.file;
    let invalid =
        |message: String| Cause::new(ErrorCode::InvalidConfiguration, format!("{}: {message}", path.display()));
    let text = tokio::fs::read_to_string(path).await.map_err(|error| invalid(error.to_string()))?;
    let options = DeployOptions { image: arguments.image.clone(), registry: arguments.registry.clone() };
    read_description(&text, &options).map_err(|cause| invalid(cause.message))
}

fn plan_document(plan: &Plan, description: &Description) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| json!({ "name": step.name, "action": verb(&step.action), "differences": step.lines }))
        .collect();
    let keys: Vec<Value> = description
        .mappings
        .iter()
        .map(|mapping| json!({ "key": mapping.key, "becomes": mapping.target, "note": mapping.note }))
        .collect();
    let needs: Vec<Value> = description
        .requirements
        .iter()
        .map(|needed| json!({ "variable": needed.variable, "value": needed.value, "reason": needed.reason }))
        .collect();
    json!({ "plan": steps, "keys": keys, "needs": needs })
}

const fn verb(action: &Action) -> &'static str {
    match action {
        Action::Create(_) => "create",
        Action::Change(..) => "change",
        Action::Keep(_) => "keep",
    }
}

fn plan_text(plan: &Plan, description: &Description, prices: &[EndpointPrice], dry_run: bool) -> String {
    let mut lines: Vec<String> = description.mappings.iter().map(mapping_line).collect();
    lines.extend(description.requirements.iter().map(requirement_line));
    lines.extend(prices.iter().map(price_line));
    for step in &plan.steps {
        lines.push(format!("{} {}", verb(&step.action), step.name));
        lines.extend(step.lines.iter().map(|line| format!("  {line}")));
    }
    lines.push(if dry_run { "nothing was changed (--dry-run)".to_owned() } else { "deployed".to_owned() });
    lines.join("\n")
}

fn requirement_line(needed: &Requirement) -> String {
    let Requirement { variable, value, reason } = needed;
    format!("the file lacks {variable}: {reason}; create the secret of {value}")
}

fn price_line(price: &EndpointPrice) -> String {
    let EndpointPrice { name, vcpu_usd_per_hour, note } = price;
    match vcpu_usd_per_hour {
        Some(usd) => format!("{name}: jobs report {usd} USD for each virtual processor and hour: {note}"),
        None => format!("{name}: no price of its processors was found, so jobs may report none: {note}"),
    }
}

fn mapping_line(mapping: &Mapping) -> String {
    let Mapping { key, target, note } = mapping;
    match target {
        Some(target) => format!("{key} → {target}: {note}"),
        None => format!("{key} has no counterpart: {note}"),
    }
}
