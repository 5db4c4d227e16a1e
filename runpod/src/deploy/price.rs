//! The price of the processors of an endpoint, from the catalogue of the account. It becomes a variable of the workers, which
//! report with it what the time of each job costs.

use greenroom_protocol::Json;
use serde::Serialize;

use super::api::RunPodApi;
use super::body::{EndpointBody, EndpointType};
use super::deployment::Description;

/// The variable with the price, which `greenroom runpod worker` reads.
const PRICE_VARIABLE: &str = "RUNPOD_VCPU_USD_PER_HOUR";
/// The processors of serverless workers. Only the members of the response that are read here are known.
const CATALOGUE: &str = "/catalog/cpus?include=AVAILABILITY&product=SERVERLESS";

/// What the plan states of the price of one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointPrice {
    /// The name of the endpoint.
    pub name: String,
    /// US dollars of one virtual processor for an hour; absent if the price was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu_usd_per_hour: Option<f64>,
    /// The flavour that has the price, or why there is none.
    pub note: String,
}

/// Adds the price to the environment of each queue endpoint with processors that does not name one. A price that is not found
/// fails no deployment: it changes what is reported, and not what is executed.
pub async fn add_prices(api: &RunPodApi, description: &mut Description) -> Vec<EndpointPrice> {
    let unpriced: Vec<&mut EndpointBody> = description.endpoints.iter_mut().filter(|one| needs_price(one)).collect();
    if unpriced.is_empty() {
        return Vec::new();
    }
    let catalogue = api.list(CATALOGUE, "cpus").await;
    let mut prices = Vec::with_capacity(unpriced.len());
    for endpoint in unpriced {
        let found = match &catalogue {
            Ok(cpus) => find_price(cpus, endpoint),
            Err(cause) => Err(format!("the catalogue of processors cannot be read: {}", cause.message)),
        };
        let name = endpoint.name.clone();
        prices.push(match found {
            Ok((price, flavour)) => {
                endpoint.env.insert(PRICE_VARIABLE.to_owned(), price.to_string());
                EndpointPrice { name, vcpu_usd_per_hour: Some(price), note: format!("the price of {flavour}") }
            }
            Err(note) => EndpointPrice { name, vcpu_usd_per_hour: None, note },
        });
    }
    prices
}

/// A price that the endpoint has remains if none is known now: without it, the endpoint would get a new release only to lose
/// it.
pub(super) fn keep_price(mut body: Json, current: &Json) -> Json {
    let price = current.get("env").and_then(|env| env.get(PRICE_VARIABLE));
    if let (Some(price), Some(env)) = (price, body.get_mut("env").and_then(Json::as_object_mut)) {
        env.entry(PRICE_VARIABLE).or_insert_with(|| price.clone());
    }
    body
}

/// True for workers that report a cost. The environment of a template is not known here, and would be replaced.
fn needs_price(endpoint: &EndpointBody) -> bool {
    endpoint.kind == EndpointType::Queue
        && endpoint.template_id.is_none()
        && endpoint.cpu.as_ref().is_some_and(|choices| !choices.is_empty())
        && !endpoint.env.contains_key(PRICE_VARIABLE)
}

/// The price of the dearest flavour of an endpoint, and the flavour: a worker does not know of which one it is, so what it
/// reports is never too little. Without the price of each, the dearest is not known.
fn find_price(cpus: &[Json], endpoint: &EndpointBody) -> Result<(f64, String), String> {
    let mut dearest: Option<(f64, &str)> = None;
    for choice in endpoint.cpu.iter().flatten() {
        let price = price_of(cpus, &choice.id)
            .ok_or_else(|| format!("the catalogue has no price of serverless workers for {}", choice.id))?;
        if dearest.is_none_or(|(highest, _)| price > highest) {
            dearest = Some((price, choice.id.as_str()));
        }
    }
    let (price, flavour) = dearest.ok_or_else(|| "the endpoint has no processors".to_owned())?;
    Ok((price, flavour.to_owned()))
}

/// The price of a flavour. Zero is none: no worker is free, and a price that is not set may be shown so.
fn price_of(cpus: &[Json], flavour: &str) -> Option<f64> {
    let cpu = cpus.iter().find(|cpu| cpu.get("id").and_then(Json::as_str) == Some(flavour))?;
    let price = cpu.get("price")?.get("serverlessPerVcpu")?.as_f64()?;
    (price.is_finite() && price > 0.0).then_some(price)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{PRICE_VARIABLE, keep_price, price_of};

    #[test]
    fn a_price_is_read_only_where_the_catalogue_has_one() {
        let cpus = [
            json!({ "id": "cpu3c", "price": { "securePerVcpu": 0.04, "serverlessPerVcpu": 0.03 } }),
            json!({ "id": "cpu5c", "price": { "serverlessPerVcpu": 0 } }),
            json!({ "id": "cpu3g", "price": { "serverlessPerVcpu": "much" } }),
            json!({ "id": "cpu3m", "price": null }),
            json!(7),
        ];
        assert_eq!(price_of(&cpus, "cpu3c"), Some(0.03));
        for flavour in ["cpu5c", "cpu3g", "cpu3m", "cpu5g"] {
            assert_eq!(price_of(&cpus, flavour), None, "{flavour}");
        }
    }

    #[test]
    fn a_price_that_is_known_replaces_the_one_before_and_an_unknown_one_does_not() {
        let current = json!({ "env": { PRICE_VARIABLE: "0.03", "A": "b" } });
        let body = keep_price(json!({ "env": { "C": "d" } }), &current);
        assert_eq!(body, json!({ "env": { PRICE_VARIABLE: "0.03", "C": "d" } }));
        let newer = json!({ "env": { PRICE_VARIABLE: "0.04" } });
        assert_eq!(keep_price(newer.clone(), &current), newer);
        assert_eq!(keep_price(json!({ "env": {} }), &json!({})), json!({ "env": {} }));
    }
}
