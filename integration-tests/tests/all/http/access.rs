//! What a caller learns of others: nothing of another tenant, and no secret. Who may use which route is in
//! `access_table/routes.rs`.

use anyhow::{Context, Result};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, HttpPod, OTHER_KEY};
use greenroom_integration_tests::wait::wait_until;

use super::{ECHO, INPUTS, WAIT_MAX, WORKFLOW, definitions};

#[tokio::test]
async fn a_resource_of_another_tenant_is_refused_as_one_that_does_not_exist() -> Result<()> {
    let (definitions, _folder) = definitions()?;
    let pod = HttpPod::start(Some(definitions.dir())).await?;
    let started = pod.send(&format!("POST /v1/workflows/{WORKFLOW}/run"), Some(ADMIN_KEY), &[], INPUTS).await?;
    let run = started.json()?["id"].as_str().context("an id")?.to_owned();
    let problem = async |id: &str| -> Result<String> {
        let response = pod.send(&format!("GET /v1/runs/{id}"), Some(OTHER_KEY), &[], "").await?;
        let mut problem = response.json()?;
        // What differs between any two requests: their ids, times and traces.
        for member in ["reply", "instance"] {
            problem.as_object_mut().context("an object")?.remove(member);
        }
        Ok(problem.to_string().replace(id, "ID"))
    };
    assert_eq!(problem(&run).await?, problem("run_that_never_was").await?);
    Ok(())
}

#[tokio::test]
async fn no_secret_of_a_caller_is_in_a_response_or_a_metric() -> Result<()> {
    let (definitions, _folder) = definitions()?;
    let pod = HttpPod::start(Some(definitions.dir())).await?;
    let started = pod.send(&format!("POST /v1/workflows/{WORKFLOW}/run"), Some(ADMIN_KEY), &[], INPUTS).await?;
    let run = started.json()?["id"].as_str().context("an id")?.to_owned();
    let mut texts = vec![started.text()];
    let requests: &[(String, &[&str], &str)] = &[
        ("GET /v1/agents".to_owned(), &["Greenroom-Timeout: x"], ""),
        (format!("POST /v1/runs/{run}/events-token"), &[], ""),
        (format!("GET /v1/runs/{run}/events?token=planted-token"), &[], ""),
        (format!("POST /v1/agents/{ECHO}/execute"), &[], "{"),
        ("GET /metrics".to_owned(), &[], ""),
    ];
    for (line, headers, body) in requests {
        let response = pod.send(line, Some(ADMIN_KEY), headers, body).await?;
        texts.push(format!("{}{}", response.head, response.text()));
    }
    // The counter of the last request is written after its response.
    let counted = || async {
        let metrics = pod.send("GET /metrics", None, &[], "").await.ok()?.text();
        metrics.contains("route=\"/metrics\"").then_some(metrics)
    };
    texts.push(wait_until("a counter", WAIT_MAX, counted).await?);
    for tenant in ["acme", "globex"] {
        let metrics = texts.last().context("metrics")?;
        assert!(!metrics.contains(tenant), "a label names a tenant: {metrics}");
    }
    for text in texts {
        assert!(!text.contains(ADMIN_KEY) && !text.contains("planted-token"), "{text}");
        assert!(!text.contains("route=\"/v1/runs/run"), "{text}");
    }
    Ok(())
}
