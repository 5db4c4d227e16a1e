//! Budgets on the real binary: a run stops before it exceeds its cost limit, concurrent runs do not overspend
//! together, and `costs` agrees with the usage that the server reports.

use std::sync::Arc;

use futures::StreamExt;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT};
use greenroom_integration_tests::test_pod::{StoreKind, start_pod_on, test_config, text};
use greenroom_protocol::request::CallOptions;
use greenroom_protocol::{AgentId, ErrorCode, Json, MicroUsd, Reply, Status, Tokens, Values};
use greenroom_runtimes::models::scripted::{self, Script, Scripted};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::TenantConfig;
use greenroom_supervisor::config::users::LimitsConfig;
use proptest::test_runner::TestCaseError;
use proptest::{prelude::ProptestConfig, prop_assert, prop_assert_eq, proptest};

use crate::postgres::create_database;

const AGENT: &str = "llm_agent";
/// Cost of one answer, at the standard tier's 3 and 15 dollars per million tokens.
const ANSWER_MICROS: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;

fn micros(usd: &Json) -> u64 {
    format!("{:.0}", usd.as_f64().expect("a sum of money") * 1e6).parse().expect("a whole number of them")
}

/// Totals of `costs`: calls, input tokens, output tokens, millionths of a dollar.
async fn costs(fixture: &ModelFixture) -> (u64, u64, u64, u64) {
    let document = fixture.terminal.run(&["costs"]).await.expect("an end").expect_success().expect("a document");
    let rows = document["costs"].as_array().expect("rows");
    let sum = |path: &str| rows.iter().filter_map(|row| row.pointer(path)?.as_u64()).sum();
    (sum("/calls"), sum("/tokens/input"), sum("/tokens/output"), micros(&document["total_usd"]))
}

#[tokio::test]
async fn a_run_stops_at_its_cost_limit_and_costs_agrees_with_the_server() {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 200).expect("an agent's file");
    fixture.definitions.write_row_workflow("needs_three_cents", AGENT, 6).expect("a workflow's file");
    let arguments = ["run", "workflow", "needs_three_cents", "--input", "text=hello", "--max-cost-usd", "0.01"];
    let output = fixture.terminal.run(&arguments).await.expect("an end");
    let reply = output.json().expect("a reply");
    assert_eq!((output.code, reply["error"]["code"].as_str()), (1, Some("budget_exceeded")), "{reply:#}");
    let answers = server.count() as u64;
    assert!(answers > 0 && answers * ANSWER_MICROS <= 10_000, "{answers} calls were made");
    assert_eq!(micros(&reply["metadata"]["cost_usd"]), answers * ANSWER_MICROS, "{reply:#}");
    let counted = (answers, answers * TOKENS_IN, answers * TOKENS_OUT, answers * ANSWER_MICROS);
    assert_eq!(costs(&fixture).await, counted);
}

#[tokio::test]
async fn a_call_that_may_exceed_the_budget_is_refused_before_a_byte_is_sent() {
    let server = ScriptServer::start(|_| ServerBehavior::Good).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 4_000).expect("an agent's file");
    let arguments = ["run", "agent", AGENT, "--input", "text=hello", "--max-cost-usd", "0.01"];
    let output = fixture.terminal.run(&arguments).await.expect("an end");
    assert_eq!(output.expect_error(1).expect("an error")["code"], "budget_exceeded");
    assert_eq!(server.count(), 0, "the worst case of 4,000 tokens costs six cents");
}

#[tokio::test]
async fn concurrent_calls_do_not_overspend_the_limit_of_their_user() {
    const LIMIT_MICROS: u64 = 30_000;
    const MANY: usize = 16;
    let server =
        ScriptServer::start(|_| ServerBehavior::Slow(std::time::Duration::from_millis(30))).await.expect("a server");
    let fixture = ModelFixture::with_openai(server.url()).expect("a fixture");
    fixture.write_llm_agent(AGENT, 60, 200).expect("an agent's file");
    let user = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nlimits = { usd = 0.03 }\n";
    fixture.terminal.write_file("greenroom.toml", user).expect("a file");
    let (process, client) = fixture.up().await.expect("a process");
    let call_agent = |_| {
        let params =
            CallParams { inputs: Values::from([("text".to_owned(), Json::from("hello"))]), ..CallParams::default() };
        client.run_agent(AgentId::new(AGENT).expect("a name"), params)
    };
    let replies: Vec<Reply> = futures::stream::iter(0..MANY)
        .map(call_agent)
        .buffer_unordered(MANY)
        .map(|reply| reply.expect("a reply"))
        .collect()
        .await;
    let (paid, refused): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.error.is_none());
    assert!(!paid.is_empty() && !refused.is_empty(), "{} were paid for", paid.len());
    for reply in refused {
        let code = reply.error.as_ref().map(|cause| cause.code);
        assert!(matches!(code, Some(ErrorCode::BudgetExceeded | ErrorCode::PolicyDenied)), "{:?}", reply.error);
    }
    assert_eq!(server.count(), paid.len(), "a rejected call is never sent");
    let answers = paid.len() as u64;
    assert!(answers * ANSWER_MICROS <= LIMIT_MICROS, "{answers} answers were paid for");
    assert_eq!(costs(&fixture).await, (answers, answers * TOKENS_IN, answers * TOKENS_OUT, answers * ANSWER_MICROS));
    drop(process);
}

/// Writes a workflow of four calls of a model with a price.
fn write_four_calls(definitions: &DefinitionsDir) {
    definitions.write_model_agent("paid_agent", "scripted.paid").expect("an agent's file");
    definitions.write_row_workflow("four_calls", "paid_agent", 4).expect("a workflow's file");
    let models = definitions.dir().join("models.yaml");
    let listed = std::fs::read_to_string(&models).expect("the models");
    let paid = "\n  scripted.paid:\n    tier: standard\n    context_tokens: 100000\n    output_tokens_max: 100\n    price: { input: 3.00, output: 15.00 }\n";
    std::fs::write(&models, listed.trim_end().to_owned() + paid).expect("the models");
}

/// The model of [`write_four_calls`], each answer of which has these tokens.
fn paid_model(tokens: Tokens) -> Arc<Scripted> {
    let reply = scripted::ScriptedReply::Json(serde_json::json!({ "text": "done" }));
    Arc::new(Scripted::new(Script::always(std::time::Duration::from_millis(1), reply, Some(tokens))))
}

/// What one answer of it costs, in millionths of a dollar.
const fn cost_of(tokens: Tokens) -> u64 {
    tokens.input * 3 + tokens.output * 15
}

#[tokio::test]
async fn a_run_on_postgresql_costs_what_its_last_call_has_cost_and_not_its_reservation() {
    let url = create_database("paid").await.expect("a database");
    greenroom_registry::migrate_postgres(&url).await.expect("its schema");
    let folder = tempfile::tempdir().expect("a folder");
    let definitions = DefinitionsDir::new(folder.path()).expect("definitions");
    write_four_calls(&definitions);
    let tokens = Tokens { input: 20, output: 10 };
    let overrides = Overrides { providers: vec![paid_model(tokens)], ..Overrides::default() };
    let test_pod = start_pod_on(&url, Some(definitions.dir()), overrides).await.expect("a pod");
    let params = CallParams { inputs: text("hello"), ..CallParams::default() };
    let client = test_pod.admin().expect("a client");
    let reply = client.run_workflow("four_calls".parse().expect("a name"), params).await.expect("a reply");
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!((reply.metadata.cost, reply.metadata.estimated), (MicroUsd(4 * cost_of(tokens)), false));
    let rows = test_pod.pod.stores().ledger.costs(None).await.expect("the costs");
    assert_eq!(rows.iter().map(|row| row.actual.cost.0).sum::<u64>(), 4 * cost_of(tokens), "{rows:?}");
    test_pod.pod.shutdown().await;
}

/// Executes concurrent runs of four calls each, under limits of the run, the user and the tenant; no call is
/// made that could exceed one of them, whatever the calls cost.
async fn concurrent_runs(run_max: u64, user_max: u64, tenant_max: u64, tokens: Tokens) -> Result<(), TestCaseError> {
    const RUNS: usize = 250;
    let folder = tempfile::tempdir().expect("a folder");
    let definitions = DefinitionsDir::new(&folder.path().join("definitions")).expect("definitions");
    write_four_calls(&definitions);
    let mut config = test_config(folder.path(), StoreKind::Memory, Some(definitions.dir())).expect("a configuration");
    let limit = |micros: u64| LimitsConfig { usd: Some(MicroUsd(micros).as_usd()), ..LimitsConfig::default() };
    for user in &mut config.users.users {
        user.limits = limit(user_max);
        config.users.tenants.insert(user.tenant.clone(), TenantConfig { limits: limit(tenant_max) });
    }
    let model = paid_model(tokens);
    let overrides = Overrides { providers: vec![model.clone()], ..Overrides::default() };
    let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await.expect("a pod");
    let client = pod.client(&"admin".parse().expect("a name"));
    let start_run = |_| {
        let options = CallOptions { cost_max: Some(MicroUsd(run_max)), ..CallOptions::default() };
        let inputs = Values::from([("text".to_owned(), Json::from("hello"))]);
        client.run_workflow(
            "four_calls".parse().expect("a name"),
            CallParams { inputs, options, ..CallParams::default() },
        )
    };
    let replies: Vec<Reply> = futures::stream::iter(0..RUNS)
        .map(start_run)
        .buffer_unordered(RUNS)
        .map(|reply| reply.expect("a reply"))
        .collect()
        .await;
    let cost = cost_of(tokens);
    let spent = model.stats().calls * cost;
    prop_assert!(spent > 0 && spent <= user_max.min(tenant_max), "{spent} of {user_max} and {tenant_max}");
    let mut sum = 0;
    for reply in &replies {
        let run_cost = reply.metadata.cost;
        prop_assert!(run_cost <= MicroUsd(run_max), "{run_cost} of {run_max}");
        sum += run_cost.0;
    }
    let rows = pod.stores().ledger.costs(None).await.expect("the costs");
    let recorded: u64 = rows.iter().map(|row| row.actual.cost.0 + row.estimated.cost.0).sum();
    prop_assert_eq!((recorded, sum), (spent, spent), "ledger and replies agree with the calls of the model");
    pod.shutdown().await;
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn a_thousand_calls_of_concurrent_runs_never_overspend(
        run_max in 12_000_u64..40_000,
        user_max in 40_000_u64..400_000,
        tenant_max in 40_000_u64..400_000,
        input in 20_u64..120,
        output in 1_u64..100,
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(concurrent_runs(run_max, user_max, tenant_max, Tokens { input, output }))?;
    }
}
