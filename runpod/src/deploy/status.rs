//! The workers of deployed endpoints, and what they have cost.

use std::collections::BTreeMap;

use greenroom_protocol::{Cause, Json};
use serde::Serialize;

use super::api::RunPodApi;
use super::deployment::Description;

/// The status of one endpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct EndpointStatus {
    /// Its name.
    pub name: String,
    /// Its id; absent if it is not deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The number of workers by their status, such as `RUNNING`.
    pub workers: BTreeMap<String, u64>,
    /// US dollars so far, as RunPod bills them; absent if RunPod reports none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// Reads the status of each endpoint of a description.
///
/// # Errors
/// Those of the API.
pub async fn read_status(api: &RunPodApi, description: &Description) -> Result<Vec<EndpointStatus>, Cause> {
    let existing = api.list("/serverless", "endpoints").await?;
    let mut statuses = Vec::new();
    for endpoint in &description.endpoints {
        let found = existing.iter().find(|one| one.get("name").and_then(Json::as_str) == Some(endpoint.name.as_str()));
        let mut status = EndpointStatus { name: endpoint.name.clone(), ..EndpointStatus::default() };
        if let Some(id) = found.and_then(|one| one.get("id")).and_then(Json::as_str) {
            status.id = Some(id.to_owned());
            let workers = api.get(&format!("/serverless/{id}/workers")).await?;
            for worker in workers.get("workers").and_then(Json::as_array).into_iter().flatten() {
                let name = worker.get("status").and_then(Json::as_str).unwrap_or("UNKNOWN");
                *status.workers.entry(name.to_owned()).or_default() += 1;
            }
            let billed = api.get(&format!("/billing/serverless?serverlessId={id}&bucketSize=hour")).await?;
            status.cost_usd = sum_amounts(&billed);
        }
        statuses.push(status);
    }
    Ok(statuses)
}

/// The sum of the total amounts of all periods, wherever the response has them.
fn sum_amounts(document: &Json) -> Option<f64> {
    match document {
        Json::Object(members) => match members.get("totalAmount").and_then(Json::as_f64) {
            Some(amount) => Some(amount),
            None => sum(members.values()),
        },
        Json::Array(items) => sum(items.iter()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}

fn sum<'a>(documents: impl Iterator<Item = &'a Json>) -> Option<f64> {
    documents.filter_map(sum_amounts).reduce(|left, right| left + right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sum_amounts;

    #[test]
    fn the_amounts_of_all_periods_are_added() {
        let billed = json!({ "buckets": [{ "totalAmount": 0.25, "cpuAmount": 0.2 }, { "totalAmount": 0.5 }] });
        assert_eq!(sum_amounts(&billed), Some(0.75));
        assert_eq!(sum_amounts(&json!([{ "totalAmount": 1 }])), Some(1.0));
        assert_eq!((sum_amounts(&json!({})), sum_amounts(&json!({ "buckets": [] }))), (None, None));
    }
}
