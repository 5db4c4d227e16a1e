//! Tenants, as an attacker tries them: with each verb of the protocol, a principal of another tenant gets
//! for what a tenant has the same reply as for what nobody has.

mod memories;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use greenroom_actors::model::ModelProvider;
use greenroom_client::Client;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, TestPod, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::event::EventNumber;
use greenroom_protocol::request::{
    CallOptions, ContextChange, ContextRead, ContextWrite, Invoke, Page, Query, ResumeRun, RunListFilter, Signal,
    SignalRun, StartRun, StartTeam,
};
use greenroom_protocol::{
    AgentId, ArtifactRef, ContentHash, ContextKey, Envelope, IdempotencyKey, Json, Reply, Request, RequestId, RunId,
    StepId, TeamId, TenantId, Tokens, UserId, Values, WorkflowId,
};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::UserConfig;
use serde_json::json;

/// Makes the envelope of a letter with this content.
type MakeEnvelope<'a> = dyn Fn(&str) -> Result<Envelope> + 'a;

const WORKFLOW: &str = "signed_letter";
const TEAM: &str = "letter_team";
/// An id of the generated form that nothing has.
const NOTHING: &str = "0192aaaabbbb7cccadddeeeeffff0000";

/// A pod with one administrator in each of two tenants, and with a workflow that awaits an approval.
async fn start(store: StoreKind) -> Result<TestPod> {
    let folder = tempfile::tempdir()?;
    let definitions = write_definitions(folder.path())?;
    let mut config = test_config(folder.path(), store, Some(definitions.dir()))?;
    let admin = config.users.users.first().context("the administrator")?.clone();
    let user = |name: &str, tenant: &str| -> Result<UserConfig> {
        Ok(UserConfig { name: UserId::new(name)?, tenant: TenantId::new(tenant)?, ..admin.clone() })
    };
    config.users.users = vec![user("alice", "acme")?, user("amir", "acme")?, user("mallory", "globex")?];
    let answer = ScriptedReply::Json(json!({ "text": "A letter" }));
    let script = Script::always(Duration::ZERO, answer, Some(Tokens { input: 100, output: 10 }));
    let providers: Vec<Arc<dyn ModelProvider>> = vec![Arc::new(Scripted::new(script))];
    let overrides = Overrides { providers, ..Overrides::default() };
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides);
    Ok(TestPod { pod: pod.await?, folder })
}

fn write_definitions(folder: &Path) -> Result<DefinitionsDir> {
    let definitions = DefinitionsDir::new(&folder.join("definitions"))?;
    definitions.write_echo_agent("writer")?;
    definitions.write_model_agent("author", "scripted.writes")?;
    let steps = "inputs:\n  - name: text\n    type: text\n    required: true\nsteps:\n  \
                 - id: draft\n    agent: writer\n    inputs: { text: \"${inputs.text}\" }\n    outputs: [text]\n  \
                 - id: sign\n    depends_on: [draft]\n    approval: { prompt: \"Sign?\" }\n";
    let head = |id: &str| format!("workflow_id: {id}\nname: {id}\ndescription: A letter\nversion: \"1.0.0\"\n");
    definitions.write_workflow(WORKFLOW, &(head(WORKFLOW) + steps))?;
    let limited = folder.join("definitions/agents/business_ops/small_reader.yaml");
    let writer = std::fs::read_to_string(folder.join("definitions/agents/business_ops/writer.yaml"))?;
    let policies = writer.replace("policies: [", "policies: [max_document_size_10mb, ");
    std::fs::write(limited, policies.replace("agent_id: writer", "agent_id: small_reader"))?;
    definitions.write_row_workflow("letter", "writer", 1)?;
    definitions.write_team(
        TEAM,
        &format!(
            "team_id: {TEAM}\nname: Letters\ndescription: Writes letters\nagents: [writer]\n\
             workflows: [{WORKFLOW}]\nshared_context: {{ tone: warm }}\n"
        ),
    )?;
    Ok(definitions)
}

async fn send(pod: &TestPod, user: &str, envelope: Envelope) -> Result<Reply> {
    Ok(pod.pod.ingress().send(UserId::new(user)?, envelope).await)
}

async fn request(pod: &TestPod, user: &str, request: Request) -> Result<Reply> {
    send(pod, user, Envelope::new(request)).await
}

fn client(pod: &TestPod, user: &str) -> Result<Client> {
    Ok(pod.pod.client(&UserId::new(user)?))
}

/// The reply without what differs between any two requests, and with a placeholder for the ids.
fn comparable(reply: &Reply, ids: &[&str]) -> Result<String> {
    let mut reply = serde_json::to_value(reply)?;
    reply["id"] = Json::Null;
    reply["metadata"]["duration_ms"] = Json::Null;
    reply["metadata"]["trace_id"] = Json::Null;
    Ok(ids.iter().fold(reply.to_string(), |text, id| text.replace(id, "ID")))
}

/// Everything of a tenant that another tenant might name.
struct Possessions {
    run: RunId,
    team_run: RunId,
    artifact: ArtifactRef,
    request: String,
}

async fn wait_for_approval(pod: &TestPod, run: &RunId) -> Result<()> {
    let client = client(pod, "alice")?;
    wait_until("the run awaits an approval", Duration::from_secs(60), || async {
        let reply = client.run_record(run.clone()).await.ok()?;
        reply.outputs.get("run").filter(|run| run["status"] == "waiting_approval").map(drop)
    })
    .await
}

/// Runs and an artifact of the tenant of `alice`.
async fn possess(pod: &TestPod) -> Result<Possessions> {
    let start = |team: bool| {
        let (inputs, context, options) = (text("secret of acme"), Values::new(), CallOptions::default());
        let workflow = WorkflowId::new(WORKFLOW)?;
        anyhow::Ok(if team {
            let team = TeamId::new(TEAM)?;
            let (version, workflow_version, detach, key) = (None, None, true, None);
            Request::StartTeam(StartTeam {
                team: team.into(),
                workflow,
                inputs,
                context,
                version,
                workflow_version,
                detach,
                key,
                options,
            })
        } else {
            Request::StartRun(StartRun { workflow, inputs, context, version: None, detach: true, key: None, options })
        })
    };
    let mut runs = Vec::new();
    for team in [false, true] {
        let reply = request(pod, "alice", start(team)?).await?;
        ensure!(reply.error.is_none(), "{reply:?}");
        let run = RunId::new(&reply.id)?;
        wait_for_approval(pod, &run).await?;
        runs.push(run);
    }
    let [run, team_run] = <[RunId; 2]>::try_from(runs).ok().context("two runs")?;
    let alice = UserId::new("alice")?;
    let artifact =
        pod.pod.ingress().store_artifact(&alice, b"secret of acme".to_vec(), "text/plain", "secret.txt").await?;
    let audit = client(pod, "alice")?.audit(Page { after: None, limit: 1 }).await?;
    let request = audit.outputs["records"][0]["event"]["request"].as_str().context("a request")?.to_owned();
    Ok(Possessions { run, team_run, artifact, request })
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

/// Every request that names something by its id: of this run, this team's run, and this artifact.
fn requests_for(run: &RunId, team_run: &RunId, artifact: &ArtifactRef, entry: &str) -> Result<Vec<Request>> {
    let step = StepId::new("sign")?;
    let mut requests = vec![
        invoke("writer", artifact)?,
        Request::Query(Query::Artifact { hash: artifact.hash, after: 0 }),
        Request::Query(Query::AuditEntry { id: entry.to_owned() }),
    ];
    let start = |inputs: Values| StartRun {
        workflow: WorkflowId::new("letter").unwrap_or_else(|_| unreachable!()),
        inputs,
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: CallOptions::default(),
    };
    requests.push(Request::StartRun(start(Values::from([("text".to_owned(), artifact.to_json())]))));
    for run in [run, team_run] {
        let key = ContextKey::new("tone")?;
        let change = ContextChange::Put("cold".into());
        requests.extend([
            Request::SignalRun(SignalRun { run: run.clone(), signal: Signal::Cancel }),
            Request::SignalRun(SignalRun {
                run: run.clone(),
                signal: Signal::Approve { step: step.clone(), call: None },
            }),
            Request::SignalRun(SignalRun {
                run: run.clone(),
                signal: Signal::Reject { step: step.clone(), call: None, reason: None },
            }),
            Request::ResumeRun(ResumeRun { run: run.clone(), dead: false }),
            Request::ContextRead(ContextRead { run: run.clone(), keys: Vec::new() }),
            Request::ContextWrite(ContextWrite { run: run.clone(), key, expect: None, change, ttl_ms: None }),
            Request::Query(Query::Run { run: run.clone() }),
            Request::Query(Query::Events { run: run.clone(), after: EventNumber::START }),
        ]);
    }
    Ok(requests)
}

#[tokio::test]
async fn what_another_tenant_has_does_not_exist() -> Result<()> {
    for store in [StoreKind::Memory, StoreKind::Normal] {
        let pod = start(store).await?;
        let Possessions { run, team_run, artifact, request: entry } = possess(&pod).await?;
        let nothing = ContentHash::from_content(b"nobody has this");
        let (no_run, no_request) = (RunId::new(format!("run_{NOTHING}"))?, format!("req_{NOTHING}"));
        let no_artifact = ArtifactRef { hash: nothing, ..artifact.clone() };
        let foreign = requests_for(&run, &team_run, &artifact, &entry)?;
        let absent = requests_for(&no_run, &no_run, &no_artifact, &no_request)?;
        let ids = [
            run.as_str(),
            team_run.as_str(),
            &artifact.hash.to_string(),
            &entry,
            no_run.as_str(),
            &nothing.to_string(),
            &no_request,
        ];
        for (foreign, absent) in foreign.into_iter().zip(absent) {
            let verb = format!("{} {foreign:?}", foreign.verb());
            let reply = request(&pod, "mallory", foreign).await?;
            let expected = request(&pod, "mallory", absent).await?;
            assert_eq!(comparable(&reply, &ids)?, comparable(&expected, &ids)?, "{verb}");
            let error = reply.error.with_context(|| verb.clone())?;
            assert_eq!(error.code.http_status(), 404, "{verb}: {error}");
        }
        for run in [&run, &team_run] {
            let mallory = client(&pod, "mallory")?;
            let foreign = format!("{:?}", mallory.watch(run, EventNumber::START).next().await);
            let absent = format!("{:?}", mallory.watch(&no_run, EventNumber::START).next().await);
            assert_eq!(foreign.replace(run.as_str(), "ID"), absent.replace(no_run.as_str(), "ID"), "a watch");
            assert!(foreign.contains("UnknownRun"), "{foreign}");
        }
        // The runs are as they were.
        wait_for_approval(&pod, &run).await?;
        wait_for_approval(&pod, &team_run).await?;
        pod.pod.shutdown().await;
    }
    Ok(())
}

#[tokio::test]
async fn lists_and_counts_have_what_the_own_tenant_has_only() -> Result<()> {
    let pod = start(StoreKind::Normal).await?;
    possess(&pod).await?;
    let mallory = client(&pod, "mallory")?;
    let page = || Page { after: None, limit: 1_000 };
    assert_eq!(mallory.runs(RunListFilter::default(), page()).await?.outputs["runs"], json!([]));
    let costs = mallory.costs(None).await?.outputs;
    assert_eq!((&costs["costs"], &costs["total_usd"]), (&json!([]), &json!(0.0)));
    let audit = mallory.audit(page()).await?.outputs;
    let records = audit["records"].as_array().context("records")?;
    ensure!(!records.is_empty(), "the requests of mallory are audited");
    let text = audit["records"].to_string();
    for foreign in ["acme", "alice", "secret", "system"] {
        assert!(!text.contains(foreign), "{foreign} is in {text}");
    }
    // An entry is not found by its number either.
    for number in 1..=60 {
        let reply = mallory.audit_entry(number.to_string()).await?;
        assert!(!serde_json::to_string(&reply)?.contains("acme"), "{number}: {reply:?}");
    }
    let own = client(&pod, "alice")?.runs(RunListFilter::default(), page()).await?.outputs;
    assert_eq!(own["runs"].as_array().map(Vec::len), Some(2));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_costs_of_another_tenant_are_not_listed() -> Result<()> {
    let pod = start(StoreKind::Normal).await?;
    let call = Invoke {
        agent: AgentId::new("author")?,
        inputs: text("Write a letter"),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
        approvals: None,
    };
    let reply = request(&pod, "alice", Request::Invoke(call)).await?;
    ensure!(reply.error.is_none(), "{reply:?}");
    let alice = client(&pod, "alice")?;
    let probe = || async {
        let costs = alice.costs(None).await.ok()?.outputs;
        costs.get("costs")?.as_array().filter(|rows| !rows.is_empty()).cloned()
    };
    let own = wait_until("the tenant reads its own costs", Duration::from_secs(60), probe).await?;
    assert!(own.iter().all(|row| row["tenant"] == "acme" && row["tokens"]["input"] == 100), "{own:#?}");
    let foreign = client(&pod, "mallory")?.costs(None).await?.outputs;
    assert_eq!(foreign["costs"], json!([]), "no row of another tenant is listed");
    pod.pod.shutdown().await;
    Ok(())
}

/// The request that starts the workflow of one step.
fn letter(content: &str) -> Result<Request> {
    Ok(Request::StartRun(StartRun {
        workflow: WorkflowId::new("letter")?,
        inputs: text(content),
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: CallOptions::default(),
    }))
}

#[tokio::test]
async fn the_same_name_or_idempotency_key_of_another_caller_is_another_one() -> Result<()> {
    let pod = start(StoreKind::Normal).await?;
    let (key, name) = (IdempotencyKey::new("once")?, RequestId::new(format!("req_{NOTHING}"))?);
    let named = |content: &str| -> Result<Envelope> {
        Ok(Envelope { id: Some(name.clone()), ..Envelope::new(letter(content)?) })
    };
    let keyed = |content: &str| -> Result<Envelope> {
        Ok(Envelope { idempotency_key: Some(key.clone()), ..Envelope::new(letter(content)?) })
    };
    let envelopes: [&MakeEnvelope; 2] = [&named, &keyed];
    for envelope in envelopes {
        let own = send(&pod, "alice", envelope("of alice")?).await?;
        assert!(format!("{:?}", own.outputs).contains("of alice"), "{own:?}");
        let repeated = send(&pod, "alice", envelope("of alice")?).await?;
        assert_eq!(repeated.id, own.id, "the same caller repeats the request");
        // The same body too: the reply of another caller is not returned.
        for (user, content) in [("mallory", "of mallory"), ("mallory", "of alice"), ("amir", "of amir")] {
            let other = send(&pod, user, envelope(content)?).await?;
            if (user, content) == ("mallory", "of alice") {
                let error = other.error.context("mallory used the name for another request")?;
                assert_eq!(error.code.as_str(), "idempotency_conflict");
                continue;
            }
            assert!(other.error.is_none(), "{user}: {other:?}");
            assert_ne!(other.id, own.id, "{user}");
        }
    }
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_size_of_an_artifact_is_that_of_the_store() -> Result<()> {
    let pod = start(StoreKind::Memory).await?;
    let alice = UserId::new("alice")?;
    let bytes = vec![b'x'; 11_000_000];
    let stored = pod.pod.ingress().store_artifact(&alice, bytes, "text/plain", "large.txt").await?;
    assert_eq!(stored.bytes, 11_000_000);
    let limited = |claimed: u64| -> Result<Request> {
        let artifact = ArtifactRef { bytes: claimed, ..stored.clone() };
        invoke("small_reader", &artifact)
    };
    for claimed in [10, 11_000_000, u64::MAX] {
        let reply = request(&pod, "alice", limited(claimed)?).await?;
        let error = reply.error.with_context(|| format!("claimed {claimed}"))?;
        assert!(error.details.to_string().contains("max_document_size_10mb"), "claimed {claimed}: {error:?}");
    }
    // A claim that is too large does not deny a small artifact.
    let small = pod.pod.ingress().store_artifact(&alice, b"short".to_vec(), "text/plain", "s.txt").await?;
    let claimed = ArtifactRef { bytes: u64::MAX, ..small };
    let reply = request(&pod, "alice", invoke("writer", &claimed)?).await?;
    assert_eq!(reply.outputs.get("text"), Some(&"short".into()), "{reply:?}");
    pod.pod.shutdown().await;
    Ok(())
}
