//! Personal data: who lacks the permission `pii_access` reads nothing that an agent with the capability of
//! that name has produced or received, however it is asked for.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, test_config, text};
use greenroom_protocol::event::EventNumber;
use greenroom_protocol::request::{
    CallOptions, ContextRead, Invoke, MemoryRead, Page, Query, RunListFilter, Signal, SignalRun,
};
use greenroom_protocol::{
    AgentId, ArtifactRef, ContentHash, Envelope, Reply, Request, RunId, TeamId, UserId, Values, WorkflowId,
};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};

/// A pod with two administrators, of whom only `admin` has the permission.
async fn start() -> Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let definitions = write_definitions(folder.path())?;
    let mut config = test_config(folder.path(), StoreKind::Normal, Some(definitions.dir()))?;
    let mut reader = config.users.users.first().context("the administrator")?.clone();
    reader.name = UserId::new("reader")?;
    reader.permissions.pii_access = false;
    config.users.users.push(reader);
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await?;
    Ok(TestPod { pod, folder })
}

/// An agent with personal data; workflows and a team that call it directly and in another workflow.
fn write_definitions(folder: &Path) -> Result<DefinitionsDir> {
    let definitions = DefinitionsDir::new(&folder.join("definitions"))?;
    definitions.write_echo_agent("writer")?;
    let agents = folder.join("definitions/agents/business_ops");
    let private = std::fs::read_to_string(agents.join("writer.yaml"))?.replace("agent_id: writer", "agent_id: private");
    std::fs::write(agents.join("private.yaml"), private.replace("[text_generation]", "[text_generation, pii_access]"))?;
    definitions.write_row_workflow("public_letter", "writer", 1)?;
    definitions.write_row_workflow("private_letter", "private", 1)?;
    let outer = "workflow_id: outer\nname: Outer\ndescription: Calls another workflow\nversion: \"1.0.0\"\ninputs:\n  \
                 - name: text\n    type: text\n    required: true\nsteps:\n  - id: inner\n    workflow: private_letter\n    \
                 inputs: { text: \"${inputs.text}\" }\nfinal_output: \"${steps.inner.outputs.text}\"\n";
    definitions.write_workflow("outer", outer)?;
    let relay = "workflow_id: relay\nname: Relay\ndescription: Passes a private text to another workflow\nversion: \"1.0.0\"\n\
                 inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n  - id: first\n    agent: private\n    \
                 inputs: { text: \"${inputs.text}\" }\n    outputs: [text]\n  - id: then\n    workflow: public_letter\n    \
                 inputs: { text: \"${steps.first.outputs.text}\" }\nfinal_output: \"${steps.then.outputs.text}\"\n";
    definitions.write_workflow("relay", relay)?;
    let drawer = "agent_id: drawer\nname: Drawer\ncategory: business_ops\ndescription: Draws a table\nversion: \"1.0.0\"\n\
                  capabilities: [chart_rendering]\ninputs:\n  - { name: data_source, type: file, required: true }\noutputs:\n  \
                  - { name: charts, type: array, items: object }\nimplementation:\n  runtime: native\n  \
                  handler: native.data_visualization\n";
    std::fs::write(agents.join("drawer.yaml"), drawer)?;
    definitions.write_team(
        "private_team",
        "team_id: private_team\nname: Private\ndescription: Writes private letters\n\
         agents: [writer, private]\nworkflows: [public_letter]\nshared_context: { tone: warm }\n",
    )?;
    Ok(definitions)
}

async fn request(pod: &TestPod, user: &str, request: Request) -> Result<Reply> {
    Ok(pod.pod.ingress().send(UserId::new(user)?, Envelope::new(request)).await)
}

fn assert_denied(reply: &Reply, request: &str) -> Result<()> {
    let error = reply.error.as_ref().with_context(|| format!("{request}: {reply:?}"))?;
    assert!(error.details.to_string().contains("pii_permission_missing"), "{request}: {error:?}");
    assert!(reply.outputs.is_empty(), "{request}");
    Ok(())
}

async fn start_run(pod: &TestPod, workflow: &str, content: &str) -> Result<Reply> {
    let params = CallParams { inputs: text(content), ..CallParams::default() };
    let reply = pod.admin()?.run_workflow(WorkflowId::new(workflow)?, params).await?;
    ensure!(reply.error.is_none(), "{reply:?}");
    Ok(reply)
}

#[tokio::test]
async fn a_run_of_an_agent_with_personal_data_is_read_with_the_permission_only() -> Result<()> {
    let pod = start().await?;
    for (workflow, is_private) in [("public_letter", false), ("private_letter", true), ("outer", true)] {
        let run = RunId::new(start_run(&pod, workflow, "Ann lives in Bonn").await?.id)?;
        let reads = || {
            [Query::Run { run: run.clone() }, Query::Events { run: run.clone(), after: EventNumber::START }]
                .map(Request::Query)
        };
        for read in reads() {
            let reply = request(&pod, "admin", read).await?;
            assert!(reply.error.is_none(), "{workflow}: {reply:?}");
        }
        let mut events = pod.pod.client(&UserId::new("reader")?).watch(&run, EventNumber::START);
        let first = events.next().await.context("an event or a rejection")?;
        assert_eq!(first.is_err(), is_private, "{workflow}: {first:?}");
        for read in reads() {
            let reply = request(&pod, "reader", read).await?;
            match is_private {
                true => assert_denied(&reply, workflow)?,
                false => assert!(reply.error.is_none(), "{workflow}: {reply:?}"),
            }
        }
        // A signal is no read: its reply has the status only.
        let cancel = Request::SignalRun(SignalRun { run: run.clone(), signal: Signal::Cancel });
        let cancelled = request(&pod, "reader", cancel).await?;
        assert!(!serde_json::to_string(&cancelled)?.contains("Bonn"), "{cancelled:?}");
    }
    // A list has no content.
    let list =
        request(&pod, "reader", Request::Query(Query::Runs { filter: Default::default(), page: Default::default() }))
            .await?;
    assert!(list.error.is_none() && !serde_json::to_string(&list)?.contains("Bonn"), "{list:?}");
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn contexts_and_memories_of_agents_with_personal_data_are_read_with_the_permission_only() -> Result<()> {
    let pod = start().await?;
    let params = CallParams { inputs: text("Ann lives in Bonn"), detach: true, ..CallParams::default() };
    let team = pod.admin()?.run_team(TeamId::new("private_team")?, WorkflowId::new("public_letter")?, params).await?;
    let run = RunId::new(&team.id)?;
    let read = Request::ContextRead(ContextRead { run, keys: Vec::new() });
    // Whether the team is still formed or not, the reader learns nothing from it.
    assert_denied(&request(&pod, "reader", read).await?, "the context")?;
    let agent = AgentId::new("private")?;
    let recall = Request::MemoryRead(MemoryRead { agent, query: None, limit: 0, count: false });
    assert_denied(&request(&pod, "reader", recall).await?, "the memory")?;
    pod.pod.shutdown().await;
    Ok(())
}

fn invoke(agent: &str, artifact: &ArtifactRef) -> Result<Request> {
    Ok(Request::Invoke(Invoke {
        agent: AgentId::new(agent)?,
        inputs: Values::from([("text".to_owned(), artifact.to_json())]),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
        approvals: None,
    }))
}

#[tokio::test]
async fn an_artifact_with_personal_data_is_read_with_the_permission_only() -> Result<()> {
    let pod = start().await?;
    // An output that is too large for a reply becomes an artifact.
    let reply = start_run(&pod, "outer", &"Ann lives in Bonn. ".repeat(10_000)).await?;
    let produced = reply.outputs.values().find_map(find_artifact).with_context(|| format!("{:?}", reply.outputs))?;
    // An upload holds personal data once such an agent has received it.
    let (admin, reader) = (UserId::new("admin")?, UserId::new("reader")?);
    let received =
        pod.pod.ingress().store_artifact(&admin, b"Ben lives in Bern".to_vec(), "text/plain", "ben.txt").await?;
    let query = |artifact: &ArtifactRef| Request::Query(Query::Artifact { hash: artifact.hash, after: 0 });
    let before = request(&pod, "reader", query(&received)).await?;
    assert!(before.error.is_none(), "{before:?}");
    let reply = request(&pod, "admin", invoke("private", &received)?).await?;
    assert_eq!(reply.outputs.get("text"), Some(&"Ben lives in Bern".into()));
    for artifact in [&produced, &received] {
        assert!(request(&pod, "admin", query(artifact)).await?.error.is_none());
        assert_denied(&request(&pod, "reader", query(artifact)).await?, "the artifact")?;
        // No other agent reads it aloud either.
        assert_denied(&request(&pod, "reader", invoke("writer", artifact)?).await?, "an agent without personal data")?;
        assert!(request(&pod, "admin", invoke("writer", artifact)?).await?.error.is_none());
    }
    // To upload the same bytes again does not remove the mark.
    pod.pod.ingress().store_artifact(&reader, b"Ben lives in Bern".to_vec(), "text/plain", "ben.txt").await?;
    assert_denied(&request(&pod, "reader", query(&received)).await?, "the artifact")?;
    pod.pod.shutdown().await;
    Ok(())
}

/// The first reference to an artifact in a value.
fn find_artifact(value: &greenroom_protocol::Json) -> Option<ArtifactRef> {
    ArtifactRef::from_json(value).or_else(|| match value {
        greenroom_protocol::Json::Object(members) => members.values().find_map(find_artifact),
        greenroom_protocol::Json::Array(items) => items.iter().find_map(find_artifact),
        _ => None,
    })
}

#[tokio::test]
async fn a_run_that_receives_personal_data_is_read_with_the_permission_only() -> Result<()> {
    let pod = start().await?;
    // Before any personal data, runs of the same workflow are public.
    let public = start_run(&pod, "public_letter", "Ann lives in Bonn").await?;
    let read = |run: &str| anyhow::Ok(Request::Query(Query::Run { run: RunId::new(run)? }));
    assert!(request(&pod, "reader", read(&public.id)?).await?.error.is_none());
    // From the run that calls it.
    start_run(&pod, "relay", "Ann lives in Bonn").await?;
    let filter = RunListFilter { workflow: Some(WorkflowId::new("public_letter")?), ..RunListFilter::default() };
    let list = request(&pod, "admin", Request::Query(Query::Runs { filter, page: Page::default() })).await?;
    let newest = list.outputs["runs"][0]["run_id"].as_str().with_context(|| format!("{list:?}"))?;
    assert_ne!(newest, public.id);
    assert!(request(&pod, "admin", read(newest)?).await?.error.is_none());
    assert_denied(&request(&pod, "reader", read(newest)?).await?, "a run that a private one called")?;
    // As an artifact.
    let admin = UserId::new("admin")?;
    let letter = b"Ben lives in Bern".to_vec();
    let artifact = pod.pod.ingress().store_artifact(&admin, letter, "text/plain", "ben.txt").await?;
    request(&pod, "admin", invoke("private", &artifact)?).await?;
    let params = CallParams { inputs: [("text".to_owned(), artifact.to_json())].into(), ..CallParams::default() };
    let run = pod.admin()?.run_workflow(WorkflowId::new("public_letter")?, params).await?;
    assert!(run.error.is_none() && format!("{:?}", run.outputs).contains("Bern"), "{run:?}");
    assert_denied(&request(&pod, "reader", read(&run.id)?).await?, "a run with a private artifact")?;
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn what_an_agent_draws_from_personal_data_is_read_with_the_permission_only() -> Result<()> {
    let pod = start().await?;
    let admin = UserId::new("admin")?;
    let draw = |artifact: &ArtifactRef| {
        anyhow::Ok(Request::Invoke(Invoke {
            agent: AgentId::new("drawer")?,
            inputs: Values::from([("data_source".to_owned(), artifact.to_json())]),
            context: Values::new(),
            version: None,
            key: None,
            options: CallOptions::default(),
            approvals: None,
        }))
    };
    for (name, is_private) in [("Ann", true), ("Ben", false)] {
        let table = format!("date,{name}\n2024-10-01,1\n2024-11-01,2\n").into_bytes();
        let artifact = pod.pod.ingress().store_artifact(&admin, table, "text/csv", "table.csv").await?;
        if is_private {
            request(&pod, "admin", invoke("private", &artifact)?).await?;
        }
        let drawn = request(&pod, "admin", draw(&artifact)?).await?;
        let chart = drawn.outputs.values().find_map(find_artifact).with_context(|| format!("{drawn:?}"))?;
        let query = || Request::Query(Query::Artifact { hash: chart.hash, after: 0 });
        assert!(request(&pod, "admin", query()).await?.error.is_none());
        let reply = request(&pod, "reader", query()).await?;
        match is_private {
            true => assert_denied(&reply, "a chart of personal data")?,
            false => assert!(reply.error.is_none(), "{reply:?}"),
        }
    }
    pod.pod.shutdown().await;
    Ok(())
}

const USERS: &str = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\npermissions = { pii_access = true }\n\
                     [[users]]\nname = \"reader\"\nroles = [\"admin\"]\n";
/// An agent with personal data whose run has a report, and its workflow.
const COLLECTOR: &str = "agent_id: collector\nname: Collector\ncategory: business_ops\ndescription: Reads a table\n\
                         version: \"1.0.0\"\ncapabilities: [data_collection, pii_access]\ninputs:\n  \
                         - { name: data_source, type: file, required: true }\noutputs:\n  - { name: raw_data, type: object }\n\
                         implementation:\n  runtime: native\n  handler: native.data_collection\n";
const COLLECT: &str = "workflow_id: collect\nname: Collect\ndescription: Reads a table\nversion: \"1.0.0\"\ninputs:\n  \
                       - { name: data_source, type: file, required: true }\nsteps:\n  - id: read\n    agent: collector\n    \
                       outputs: [raw_data]\noutputs:\n  facts: \"${steps.read.outputs.raw_data}\"\n";

const SALARIES: &str = "date,employee,salary\n2024-10-01,Ann,1\n2024-11-01,Ann,2\n";

#[tokio::test]
async fn the_command_line_shows_no_personal_data_without_the_permission() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
    terminal.write_file("definitions/agents/business_ops/collector.yaml", COLLECTOR)?;
    definitions.write_workflow("collect", COLLECT)?;
    terminal.write_file("greenroom.toml", USERS)?;
    terminal.write_file("salaries.csv", SALARIES)?;
    terminal.add_options(&["--definitions", "definitions"]);
    let start = ["run", "workflow", "collect", "--input", "data_source=@salaries.csv", "--context", "who=Ann"];
    let reply = terminal.run(&start).await?.expect_success()?;
    let run = reply["id"].as_str().context("the id of the run")?;
    let source = ContentHash::from_content(SALARIES.as_bytes()).to_string();
    for (number, words) in [
        &["runs", "show", run][..],
        &["runs", "report", run, "--out", "report"],
        &["runs", "watch", run],
        &["artifacts", "get", &source, "--out", "source.csv"],
    ]
    .into_iter()
    .enumerate()
    {
        let denied = terminal.run(&[words, &["--user", "reader"]].concat()).await?;
        let error = denied.expect_error(3).with_context(|| words.join(" "))?;
        assert!(error.to_string().contains("pii_permission_missing"), "{number}: {error:#}");
        assert!(!error.to_string().contains("Ann"), "{number}: {error:#}");
    }
    assert!(!terminal.folder().join("report").exists() && !terminal.folder().join("source.csv").exists());
    terminal.run(&["runs", "report", run, "--out", "report"]).await?.expect_success()?;
    terminal.run(&["artifacts", "get", &source, "--out", "source.csv"]).await?.expect_success()?;
    Ok(())
}
