//! Who may use which route: one row for each route of the bridge. A route without a row fails the test.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, GUEST_KEY, HttpPod, OTHER_KEY};
use greenroom_integration_tests::wait::wait_until;
use greenroom_runpod::bridge::{Access, ROUTES, Route, Verb};

use super::{ECHO, INPUTS, WAIT_MAX, WORKFLOW, definitions};

/// What a route replies: to a user of another tenant, to one without a role, and to the administrator of the tenant of the
/// run and of the artifact in the path.
struct Row {
    id: &'static str,
    body: &'static str,
    other: u16,
    guest: u16,
    admin: u16,
}

const fn row(id: &'static str, body: &'static str, other: u16, guest: u16, admin: u16) -> Row {
    Row { id, body, other, guest, admin }
}

/// A user without a role may query the catalogue and nothing else; a resource of another tenant does not exist. An upload is
/// stored for every authenticated user, in the user's own tenant.
const ROWS: &[Row] = &[
    row("execute_agent", INPUTS, 200, 403, 200),
    row("run_workflow", INPUTS, 200, 403, 200),
    row("execute_team", r#"{"team":"none","workflow":"two_steps"}"#, 404, 404, 404),
    row("send_request", r#"{"version":1,"request":{"verb":"query","query":"agents"}}"#, 200, 200, 200),
    row("list_agents", "", 200, 200, 200),
    row("get_agent", "", 200, 200, 200),
    row("list_workflows", "", 200, 200, 200),
    row("get_workflow", "", 200, 200, 200),
    row("list_teams", "", 200, 200, 200),
    row("get_team", "", 404, 404, 404),
    row("list_runs", "", 200, 403, 200),
    row("get_run", "", 404, 403, 200),
    row("cancel_run", "", 404, 403, 409),
    row("resume_run", "", 404, 403, 409),
    row("approve_step", r#"{"step":"step_0"}"#, 404, 403, 409),
    row("reject_step", r#"{"step":"step_0"}"#, 404, 403, 409),
    row("signal_run", r#"{"signal":"cancel"}"#, 404, 403, 409),
    row("watch_run", "", 404, 403, 200),
    row("issue_events_token", "", 404, 403, 201),
    row("upload_artifact", "content", 201, 201, 201),
    row("download_artifact", "", 404, 403, 200),
];

/// The path of a route with the ids of this test, and a query where it needs one.
fn path(route: &Route, run: &str, hash: &str) -> String {
    let path = route.path.replace("{agent_id}", ECHO).replace("{workflow_id}", WORKFLOW).replace("{team_id}", "none");
    let path = path.replace("{run_id}", run).replace("{hash}", hash);
    if route.id == "upload_artifact" { format!("{path}?name=a.txt") } else { path }
}

#[tokio::test]
async fn every_route_refuses_the_callers_who_may_not_use_it() -> Result<()> {
    let (definitions, _folder) = definitions()?;
    let pod = HttpPod::start(Some(definitions.dir())).await?;
    let started = pod.send(&format!("POST /v1/workflows/{WORKFLOW}/run"), Some(ADMIN_KEY), &[], INPUTS).await?;
    let run = started.json()?["id"].as_str().context("an id")?.to_owned();
    let upload = pod.send("POST /v1/artifacts?name=b.txt", Some(ADMIN_KEY), &[], "of acme").await?;
    let hash = upload.json()?["hash"].as_str().context("a hash")?.to_owned();
    for route in ROUTES {
        let method = if route.method == Verb::Get { "GET" } else { "POST" };
        let line = format!("{method} {}", path(route, &run, &hash));
        if route.access == Access::Public {
            let open = pod.send(&line, None, &[], "").await?;
            ensure!(open.status == 200, "{route:?}: {open:?}");
            continue;
        }
        let found = ROWS.iter().find(|row| row.id == route.id);
        let row = found.with_context(|| format!("{route:?} has no row: add one, with who may use it"))?;
        for (caller, key, status) in [
            ("nobody", None, 401),
            ("a wrong key", Some("wrong"), 401),
            ("another tenant", Some(OTHER_KEY), row.other),
            ("no role", Some(GUEST_KEY), row.guest),
            ("the administrator", Some(ADMIN_KEY), row.admin),
        ] {
            let response = pod.send(&line, key, &[], row.body).await?;
            assert_eq!(response.status, status, "{route:?} for {caller}: {}", response.text());
            let is_problem = response.header("content-type") == Some("application/problem+json");
            assert_eq!(is_problem, status >= 400, "{route:?} for {caller}: {response:?}");
        }
    }
    let known = |row: &Row| ROUTES.iter().any(|route| route.id == row.id && route.access != Access::Public);
    ensure!(ROWS.iter().all(known), "a row names a route that is not there");
    Ok(())
}

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
    for text in texts {
        assert!(!text.contains(ADMIN_KEY) && !text.contains("planted-token"), "{text}");
        assert!(!text.contains("route=\"/v1/runs/run"), "{text}");
    }
    Ok(())
}
