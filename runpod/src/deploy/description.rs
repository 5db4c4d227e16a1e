//! A file that describes what is deployed: `templates` and `endpoints` with the bodies of the API, or the customer's
//! `runpod-config.yaml`.

use greenroom_protocol::{Cause, ErrorCode};
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::body::{EndpointBody, TemplateBody};
use super::client_config::{is_client_config, read_client_config};
use super::deployment::{DeployOptions, Description};
use super::validate::{validate_endpoint, validate_template};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnDescription {
    #[serde(default)]
    templates: Vec<TemplateBody>,
    #[serde(default)]
    endpoints: Vec<EndpointBody>,
}

/// Reads a description, and checks each body.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] with every problem.
pub fn read_description(text: &str, options: &DeployOptions) -> Result<Description, Cause> {
    let document: Value =
        serde_yaml_ng::from_str(text).map_err(|error| invalid(format!("the file is no YAML: {error}")))?;
    let mut description = if is_client_config(&document) {
        read_client_config(document, options)?
    } else {
        let OwnDescription { templates, endpoints } = serde_yaml_ng::from_value(document)
            .map_err(|error| invalid(format!("the file cannot be read: {error}")))?;
        Description { templates, endpoints, mappings: Vec::new(), requirements: Vec::new() }
    };
    for endpoint in description.endpoints.iter_mut().filter(|endpoint| endpoint.template_id.is_none()) {
        endpoint.image.get_or_insert_with(|| options.image.clone());
        endpoint.registry = endpoint.registry.take().or_else(|| options.registry.clone());
    }
    check(&description)?;
    Ok(description)
}

fn check(description: &Description) -> Result<(), Cause> {
    let Description { templates, endpoints, mappings: _, requirements: _ } = description;
    let mut problems = Vec::new();
    for template in templates {
        problems.extend(validate_template(template).into_iter().map(|problem| format!("{}: {problem}", template.name)));
    }
    for endpoint in endpoints {
        problems.extend(validate_endpoint(endpoint).into_iter().map(|problem| format!("{}: {problem}", endpoint.name)));
    }
    let mut names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    names.sort_unstable();
    let repeated = names.windows(2).filter(|pair| matches!(pair, [first, second] if first == second));
    problems.extend(repeated.filter_map(|pair| Some(format!("{}: two endpoints have this name", pair.first()?))));
    if templates.is_empty() && endpoints.is_empty() {
        problems.push("the file has no `endpoints` and no `templates`".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(invalid(problems.join("\n"))) }
}

fn invalid(message: String) -> Cause {
    Cause::new(ErrorCode::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests;
