//! `for_each`: its list, its outputs, and the work of each item.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use greenroom_protocol::journal::{Entry, ItemList};
use greenroom_protocol::{ArtifactRef, Cause, ContentHash, ErrorCode, Json, Status, TenantId, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::artifacts::{
    ArtifactContent, ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore, SweepReport,
};
use serde_json::json;

use super::harness::{
    Harness, Script, TestDefinitions, agent, immediate, names, run_id, start, start_team, stores, until, values,
    workflow,
};
use super::steps::definitions;

fn each_then_all(on_error: &str) -> TestDefinitions {
    let items = json!([{"name": "items", "type": "array", "required": true}]);
    let mut definitions = definitions(json!([
        {"id": "each", "agent": "worker", "inputs": {"text": "${item}"}, "outputs": ["out"],
         "for_each": {"items": "${inputs.list}", "on_error": on_error}},
        {"id": "all", "agent": "collector", "inputs": {"items": "${steps.each.outputs.out}"}, "outputs": ["all"]},
        {"id": "some", "agent": "other", "when": "size(steps.each.outputs.out) > 0", "outputs": ["some"]},
        {"id": "nested", "workflow": "inner", "inputs": {"text": "${item}"},
         "for_each": {"items": "${inputs.list}", "on_error": on_error}},
    ]));
    definitions
        .agents
        .push(agent("collector", json!({"inputs": items, "outputs": [{"name": "all", "type": "array"}]})));
    definitions.workflows[0]["outputs"] = json!({
        "each": "${steps.each.outputs.out}", "all": "${steps.all.outputs.all}", "some": "${steps.some.outputs.some}",
        "nested": "${steps.nested.outputs.done}", "whole": "${steps.each.outputs}",
    });
    let mut inner = workflow("inner", json!([{"id": "x", "agent": "worker", "inputs": {"text": "${inputs.text}"}}]));
    inner["outputs"] = json!({"done": "${steps.x.outputs.out}"});
    definitions.workflows.push(inner);
    definitions
}

/// Items return their text, unless it is `bad`.
fn echo() -> Script {
    immediate(|call| match call.inputs.get("text").and_then(Json::as_str) {
        Some("bad") => Err(Cause::new(ErrorCode::HandlerFailed, "bad")),
        Some(text) => Ok(values(json!({ "out": text }))),
        None => Ok(values(json!({"out": call.agent, "all": call.inputs.get("items")}))),
    })
}

#[tokio::test(start_paused = true)]
async fn a_list_without_results_has_empty_outputs_and_the_next_step_receives_them() {
    for (list, on_error) in [(json!([]), "fail"), (json!([]), "continue"), (json!(["bad", "bad"]), "continue")] {
        let harness = Harness::new(each_then_all(on_error), echo()).await;
        let reply = harness.request(start("w", json!({ "list": list }))).await;
        assert_eq!(reply.status, Status::Success, "{list}: {:?}", reply.error);
        let expected = json!({"each": [], "all": [], "nested": [], "whole": {"out": []}});
        assert_eq!(reply.outputs, values(expected), "{list}");
    }
    let harness = Harness::new(each_then_all("continue"), echo()).await;
    let reply = harness.request(start("w", json!({"list": ["a", "bad"]}))).await;
    let list = json!(["a", null]);
    let expected = json!({"each": list, "all": list, "nested": list, "whole": {"out": list}, "some": "other"});
    assert_eq!(reply.outputs, values(expected));
}

/// A member of a team that replaces the list of the team's context, which its workflow iterates.
fn changing_list() -> TestDefinitions {
    let provides = json!({"collaboration": {"provides_to_team": ["list"]},
        "inputs": [{"name": "text", "type": "text"}], "outputs": [{"name": "list", "type": "array"}]});
    let step = json!({"id": "each", "agent": "changer", "inputs": {"text": "${item}"},
        "for_each": {"items": "${context.list}", "max_concurrency": 1}});
    TestDefinitions {
        agents: vec![agent("changer", provides)],
        workflows: vec![workflow("w", json!([step]))],
        teams: vec![json!({"team_id": "crew", "name": "Crew", "agents": ["changer"],
            "shared_context": {"list": ["a", "b", "c"]}})],
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_has_the_same_items_although_its_list_has_changed() {
    let stuck: Script = Arc::new(|call| {
        Box::pin(async move {
            if call.inputs["text"] == "b" {
                std::future::pending::<()>().await;
            }
            Ok(values(json!({"list": ["changed"]})))
        })
    });
    let harness = Harness::new(changing_list(), stuck).await;
    let request = start_team("crew", "w", json!({}), json!({}));
    let started = async { until("the second item is under way", || harness.calls().len() == 2).await };
    tokio::select! {
        _ = harness.request(request) => panic!("the second item never ends"),
        () = started => {}
    }
    let runs = harness.stores.runs.list(&Default::default(), None, 50).await.unwrap().runs;
    let run = runs[0].run.clone();
    let harness = harness.crash(vec![changing_list()], immediate(|_| Ok(values(json!({"list": []}))))).await;
    assert_eq!(harness.recover().await.resumed, 1);
    let reply = harness.runs.wait_reply(&run).await.unwrap();
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    let texts: Vec<Json> = harness.calls().into_iter().map(|call| call.inputs["text"].clone()).collect();
    assert_eq!(texts, ["b", "c"], "the items of the journal");
    let entries = harness.entries(&run).await;
    let list = entries.iter().find_map(|entry| match entry {
        Entry::ItemsExpanded { list, .. } => list.clone(),
        _ => None,
    });
    assert_eq!(list, Some(ItemList::Inline(vec!["a".into(), "b".into(), "c".into()])));
}

/// Counts the reads of an artifact store.
struct Counting {
    inner: Arc<dyn ArtifactStore>,
    reads: Arc<AtomicUsize>,
}

#[async_trait]
impl ArtifactStore for Counting {
    async fn put_stream(
        &self,
        owner: &ArtifactOwner,
        content: ArtifactSource<'_>,
        media_type: &str,
        name: &str,
    ) -> Result<ArtifactRef, ArtifactError> {
        self.inner.put_stream(owner, content, media_type, name).await
    }

    async fn read(
        &self,
        tenant: &TenantId,
        hash: &ContentHash,
        range: Range<u64>,
    ) -> Result<Option<ArtifactContent>, ArtifactError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(tenant, hash, range).await
    }

    async fn info(&self, tenant: &TenantId, hash: &ContentHash) -> Result<Option<ArtifactInfo>, ArtifactError> {
        self.inner.info(tenant, hash).await
    }

    async fn mark_personal_data(&self, tenant: &TenantId, hash: &ContentHash) -> Result<(), ArtifactError> {
        self.inner.mark_personal_data(tenant, hash).await
    }

    async fn sweep(
        &self,
        referenced: HashSet<ContentHash>,
        tenant: Option<&TenantId>,
        now: Timestamp,
    ) -> Result<SweepReport, StoreError> {
        self.inner.sweep(referenced, tenant, now).await
    }
}

#[tokio::test(start_paused = true)]
async fn each_item_is_given_what_its_inputs_name_and_loads_nothing_else() {
    const ITEMS: usize = 1_500;
    let (mut stores, clock) = stores();
    let reads = Arc::new(AtomicUsize::new(0));
    stores.artifacts = Arc::new(Counting { inner: stores.artifacts.clone(), reads: reads.clone() });
    let steps = json!([
        {"id": "prepare", "agent": "other"},
        {"id": "each", "agent": "worker", "outputs": ["out"],
         "inputs": {"text": "${item.text}", "data": {"rule": "${steps.prepare.outputs.rule}"}},
         "for_each": {"items": "${inputs.list}", "max_concurrency": 8}},
    ]);
    let mut definitions = definitions(steps);
    definitions.agents[1] = agent(
        "other",
        json!({"outputs":
        [{"name": "rule", "type": "text"}, {"name": "rest", "type": "text"}]}),
    );
    let script = immediate(|call| match call.agent.as_str() {
        "other" => Ok(values(json!({"rule": "r", "rest": "x".repeat(200_000)}))),
        _ => Ok(values(json!({ "out": call.inputs["text"].as_str().unwrap().len() }))),
    });
    let harness = Harness::open("pod_1", vec![definitions], script, stores, clock).await;
    let list: Vec<Json> =
        (0..ITEMS).map(|number| json!({"text": format!("{number:04}{}", "x".repeat(2_000))})).collect();
    let reply = harness.request(start("w", json!({ "list": list, "other": "y".repeat(100_000) }))).await;
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["out"], json!(vec![2_004; ITEMS]));
    let calls = harness.calls();
    assert_eq!(calls.last().unwrap().inputs["data"], json!({"rule": "r"}));
    assert!(
        calls[1..].iter().enumerate().all(|(at, call)| {
            call.inputs["text"].as_str().is_some_and(|text| text.starts_with(&format!("{at:04}")))
        })
    );
    let entries = harness.entries(&run_id(&reply)).await;
    let chunks = entries.iter().find_map(|entry| match entry {
        Entry::ItemsExpanded { list: Some(ItemList::Stored(chunks)), .. } => Some(chunks.len()),
        _ => None,
    });
    assert_eq!(chunks, Some(3), "3 MiB in chunks of one");
    let reads = reads.load(Ordering::Relaxed);
    assert!(reads <= 20, "{reads} reads for {ITEMS} items: inputs and results are read once, and each chunk once");
}

#[tokio::test(start_paused = true)]
async fn the_outputs_of_a_list_are_those_that_are_named() {
    let steps = json!([
        {"id": "each", "agent": "worker", "for_each": {"items": [1, 2]}},
        {"id": "after", "agent": "other", "inputs": {"data": {"all": "${steps.each.outputs}"}}, "outputs": ["out"]},
    ]);
    let harness = Harness::new(definitions(steps), names()).await;
    let reply = harness.request(start("w", json!({}))).await;
    assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
    let data = harness.calls().last().unwrap().inputs["data"].clone();
    assert_eq!(data, json!({"all": {"out": ["worker", "worker"]}}));
}
