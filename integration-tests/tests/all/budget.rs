//! Money on the real binary: a run stops before it exceeds what it may cost, runs at one time do not
//! overspend together, and `costs` agrees with the server's own count.

use futures::StreamExt;
use greenroom_client::Work;
use greenroom_integration_tests::script_server::{Play, ScriptServer, TOKENS_IN, TOKENS_OUT};
use greenroom_integration_tests::stand::Stand;
use greenroom_protocol::{AgentId, Code, Json, Reply, Values};

const AGENT: &str = "asking_agent";
/// What the server's count of one answer costs, at the standard tier's 3 and 15 dollars a million.
const ANSWER_MICROS: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;

fn micros(usd: &Json) -> u64 {
    format!("{:.0}", usd.as_f64().expect("a sum of money") * 1e6).parse().expect("a whole number of them")
}

/// What `costs` says: calls, tokens in, tokens out, millionths of a dollar.
async fn costs(stand: &Stand) -> (u64, u64, u64, u64) {
    let document = stand.terminal.run(&["costs"]).await.expect("an end").done().expect("a document");
    let rows = document["costs"].as_array().expect("rows");
    let sum = |path: &str| rows.iter().filter_map(|row| row.pointer(path)?.as_u64()).sum();
    (sum("/calls"), sum("/tokens/input"), sum("/tokens/output"), micros(&document["total_usd"]))
}

#[tokio::test]
async fn a_cent_does_not_pay_for_three_and_costs_agrees_with_the_server() {
    let server = ScriptServer::start(|_| Play::Good).await.expect("a server");
    let stand = Stand::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 60, 200).expect("an agent's file");
    stand.definitions.row_workflow("needs_three_cents", AGENT, 6).expect("a workflow's file");
    let words = ["run", "workflow", "needs_three_cents", "--input", "text=hello", "--max-cost-usd", "0.01"];
    let said = stand.terminal.run(&words).await.expect("an end");
    let reply = said.json().expect("a reply");
    assert_eq!((said.code, reply["error"]["code"].as_str()), (1, Some("budget_exceeded")), "{reply:#}");
    let answers = server.count() as u64;
    assert!(answers > 0 && answers * ANSWER_MICROS <= 10_000, "{answers} calls were made");
    assert_eq!(micros(&reply["metadata"]["cost_usd"]), answers * ANSWER_MICROS, "{reply:#}");
    let counted = (answers, answers * TOKENS_IN, answers * TOKENS_OUT, answers * ANSWER_MICROS);
    assert_eq!(costs(&stand).await, counted);
}

#[tokio::test]
async fn a_call_that_may_exceed_the_budget_is_refused_before_a_byte_is_sent() {
    let server = ScriptServer::start(|_| Play::Good).await.expect("a server");
    let stand = Stand::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 60, 4_000).expect("an agent's file");
    let words = ["run", "agent", AGENT, "--input", "text=hello", "--max-cost-usd", "0.01"];
    let said = stand.terminal.run(&words).await.expect("an end");
    assert_eq!(said.refused(1).expect("an error")["code"], "budget_exceeded");
    assert_eq!(server.count(), 0, "the worst case of 4,000 tokens costs six cents");
}

#[tokio::test]
async fn many_at_one_time_do_not_overspend_the_limit_of_their_user() {
    const LIMIT_MICROS: u64 = 30_000;
    const MANY: usize = 16;
    let server = ScriptServer::start(|_| Play::Slow(std::time::Duration::from_millis(30))).await.expect("a server");
    let stand = Stand::asking(server.url()).expect("a stand");
    stand.asking_agent(AGENT, 60, 200).expect("an agent's file");
    let user = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nlimits = { usd = 0.03 }\n";
    stand.terminal.file("greenroom.toml", user).expect("a file");
    let (process, client) = stand.up().await.expect("a process");
    let ask = |_| {
        let work = Work { inputs: Values::from([("text".to_owned(), Json::from("hello"))]), ..Work::default() };
        client.run_agent(AgentId::new(AGENT).expect("a name"), work)
    };
    let replies: Vec<Reply> = futures::stream::iter(0..MANY)
        .map(ask)
        .buffer_unordered(MANY)
        .map(|reply| reply.expect("an answer"))
        .collect()
        .await;
    let (paid, refused): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.error.is_none());
    assert!(!paid.is_empty() && !refused.is_empty(), "{} were paid for", paid.len());
    for reply in refused {
        let code = reply.error.as_ref().map(|cause| cause.code);
        assert!(matches!(code, Some(Code::BudgetExceeded | Code::PolicyDenied)), "{:?}", reply.error);
    }
    assert_eq!(server.count(), paid.len(), "what is refused is never sent");
    let answers = paid.len() as u64;
    assert!(answers * ANSWER_MICROS <= LIMIT_MICROS, "{answers} answers were paid for");
    assert_eq!(costs(&stand).await, (answers, answers * TOKENS_IN, answers * TOKENS_OUT, answers * ANSWER_MICROS));
    drop(process);
}
