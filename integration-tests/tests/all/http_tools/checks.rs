//! `greenroom definitions check` knows the tools of configured APIs, and names what is missing; a pod whose document is
//! elsewhere and away starts without its tools.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::test_pod::start_configured_pod;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use greenroom_supervisor::compose::{Overrides, catalogue};
use greenroom_supervisor::config::{Config, HttpApiConfig};
use serde_json::json;

use super::{AGENT, ToolPod, api, calls, document, write_tool_agent};

/// Nothing listens at this address.
const AWAY: &str = "http://127.0.0.1:9/openapi.json";
/// A document with one id for two operations.
const TWICE: &str =
    r#"{"openapi": "3.0.0", "paths": {"/a": {"get": {"operationId": "x"}, "put": {"operationId": "x"}}}}"#;

/// The problems of an agent that names this operation, with this API.
async fn problems(tool: &str, change: impl FnOnce(&mut HttpApiConfig)) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    write_tool_agent(&definitions, tool)?;
    let mut config = Config::defaults(folder.path())?;
    config.definitions = Some(definitions.dir().to_owned().into());
    let mut settings = api(folder.path(), &document(), "https://shop.example")?;
    change(&mut settings);
    config.outbound.apis.insert("shop".to_owned(), settings);
    let known_names = match catalogue::known_names(&config).await {
        Ok(known_names) => known_names,
        Err(cause) => return Ok(cause.to_string()),
    };
    let source = catalogue::source(&config).await?;
    Ok(catalogue::load(source, false, known_names).await?.report.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checks_know_the_operations_of_configured_apis() -> Result<()> {
    let known = problems("get_order", |_| ()).await?;
    assert!(!known.contains("error["), "{known}");
    let misspelt = problems("get_ordr", |_| ()).await?;
    assert!(
        misspelt.contains("there is no tool `http:shop/get_ordr`; did you mean `http:shop/get_order`?"),
        "{misspelt}"
    );
    let missing = problems("send_everything_home", |_| ()).await?;
    let expected =
        "`tools.http.shop` of the configuration must name a document with the operation `send_everything_home`";
    assert!(missing.contains(expected), "{missing}");
    let not_wanted = problems("get_order", |api| api.operations = Some(vec!["replace_order".to_owned()])).await?;
    assert!(not_wanted.contains("there is no tool `http:shop/get_order`"), "{not_wanted}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_is_named_with_its_problem() -> Result<()> {
    let large = vec![b' '; 10 * 1024 * 1024];
    for (content, problem) in [
        (&large[..], "more than 8388608 bytes"),
        (&b"{\"openapi\": "[..], "is no JSON"),
        (&b"swagger: '2.0'\n"[..], "Swagger 2"),
        (TWICE.as_bytes(), "twice"),
    ] {
        let found = problems("get_order", |api| fs::write(&api.document, content).expect("a file")).await?;
        assert!(
            found.contains("invalid_configuration: tools.http.shop") && found.contains(problem),
            "{problem}: {found}"
        );
    }
    let away = problems("get_order", |api| api.document = AWAY.to_owned()).await?;
    assert!(away.contains("the document cannot be fetched"), "{away}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_fetched_from_its_address() -> Result<()> {
    let content = document().to_string();
    let server = ModelServer::start(move |_| vec![Step::Send(response("200 OK", "", &content))]).await?;
    let address = format!("{}/openapi.json", server.url());
    let found =
        problems("get_order", |api| (api.document, api.base_url) = (address, Some(server.url().to_owned()))).await?;
    assert!(!found.contains("error["), "{found}");
    assert!(server.requests().iter().all(|request| request.line.starts_with("GET /v1/openapi.json")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_without_the_tools_of_a_document_that_is_away() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_echo_agent("echo_agent")?;
    write_tool_agent(&definitions, "get_order")?;
    let settings =
        HttpApiConfig { document: AWAY.to_owned(), ..api(folder.path(), &document(), "https://shop.example")? };
    let pod = start_configured_pod(Some(definitions.dir()), Overrides::default(), |config: &mut Config| {
        config.outbound.apis.insert("shop".to_owned(), settings);
    });
    let pod = Box::pin(pod).await?;
    let agents = pod.admin()?.agents().await?;
    let listed = serde_json::to_string(&agents.outputs)?;
    assert!(listed.contains("echo_agent"), "{listed}");
    let called = pod.admin()?.run_agent(greenroom_protocol::AgentId::new(AGENT)?, Default::default()).await?;
    let code = called.error.map(|cause| cause.code.as_str());
    assert!(matches!(code, Some("unknown_agent" | "invalid_definition")), "the agent is out of service: {code:?}");
    Box::pin(pod.pod.shutdown()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_available_later_puts_its_agents_in_service_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_echo_agent("echo_agent")?;
    write_tool_agent(&definitions, "get_order")?;
    let (content, is_away) = (document().to_string(), Arc::new(AtomicBool::new(true)));
    let is_away_now = Arc::clone(&is_away);
    let server = ModelServer::start(move |_| match is_away_now.load(Ordering::Relaxed) {
        true => vec![Step::Send(response("503 Service Unavailable", "", "{}"))],
        false => vec![Step::Send(response("200 OK", "", &content))],
    });
    let server = server.await?;
    let address = format!("{}/openapi.json", server.url());
    let settings = HttpApiConfig { document: address, ..api(folder.path(), &document(), server.url())? };
    let script = calls("get_order", json!({ "id": "7" }));
    let mut pod = ToolPod::with_definitions(folder, &definitions, settings, script).await?;
    pod.pod.pod.watch();
    let early = pod.call().await?;
    assert!(early.error.is_some(), "the agent is out of service: {early:?}");
    is_away.store(false, Ordering::Relaxed);
    wait_until("the agent is in service", COMMAND_WAIT_MAX, || async {
        pod.call().await.ok().filter(|reply| reply.status == Status::Success).map(drop)
    })
    .await?;
    assert_eq!(pod.tool_calls().await?, [None]);
    pod.shutdown().await;
    Ok(())
}
