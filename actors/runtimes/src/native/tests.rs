//! The handlers as an execution calls them: inputs, access to files, outputs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::handler::{FileAccess, FileSources, Handler, HandlerInput};
use greenroom_definitions::Agent;
use greenroom_protocol::{
    ArtifactRef, BootTime, CallKey, Cause, Clock, ContentHash, Deadline, ErrorCode, Json, PodId, TenantId, Timestamp,
    Values,
};
use greenroom_registry::artifacts::ArtifactStore;
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::{StoreParts, in_memory_artifacts, open_in_memory};
use serde_json::json;

use super::handlers::data_collection::DataCollection;
use super::handlers::data_visualization::DataVisualization;
use super::handlers::echo::Echo;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn boot_time(&self) -> BootTime {
        BootTime::default()
    }
}

pub(super) struct Harness {
    store: Arc<dyn ArtifactStore>,
    pub(super) files: FileAccess,
    folder: tempfile::TempDir,
}

pub(super) fn harness() -> Harness {
    let folder = tempfile::tempdir().unwrap();
    let store = in_memory_artifacts();
    let files = crate::files::open(vec![PathBuf::from(folder.path())]);
    let agent = input(json!({}), json!({})).agent;
    let parts = StoreParts {
        clock: Arc::new(StoppedClock),
        signer: Signer::ephemeral([7; 32]),
        artifacts: store.clone(),
        pod: PodId::new("pod_1").unwrap(),
    };
    let runs = open_in_memory(parts).stores.runs;
    let files = FileSources::new(files, store.clone(), runs).for_agent(&TenantId::default(), &agent, None);
    Harness { files, store, folder }
}

fn input(inputs: Json, context: Json) -> HandlerInput {
    let spec = json!({
        "agent_id": "a", "name": "A", "category": "c", "description": "d", "version": "1",
        "outputs": [{ "name": "out", "type": "object" }],
        "implementation": { "runtime": "native", "handler": "native.echo" }
    });
    let now = Timestamp::from_micros(0);
    let values = |json: Json| -> Values { serde_json::from_value(json).unwrap() };
    HandlerInput {
        agent: Arc::new(Agent::new(serde_json::from_value(spec).unwrap()).unwrap()),
        inputs: values(inputs),
        context: values(context),
        key: CallKey::new("k").unwrap(),
        run: None,
        now,
        deadline: Deadline::after(now, Duration::from_secs(60)),
    }
}

const CSV: &[u8] = b"date,region,revenue\n2024-07-01,N,5\n2024-10-01,N,7\n2024-11-01,S,8\n2024-11-02,S,9\n";

async fn error_of(handler: &dyn Handler, harness: &Harness, inputs: Json) -> Cause {
    handler.run(&input(inputs, json!({})), &harness.files).await.unwrap_err()
}

#[tokio::test]
async fn a_file_is_collected_by_path_and_by_artifact() {
    let harness = harness();
    std::fs::write(harness.folder.path().join("sales.csv"), CSV).unwrap();
    let artifact = harness.files.store_artifact(CSV, "sales.csv", "text/csv").await.unwrap();
    for source in [json!("sales.csv"), artifact.to_json()] {
        let input = input(json!({ "data_source": source, "quarter": "2024-Q4" }), json!({}));
        let facts = &DataCollection.run(&input, &harness.files).await.unwrap()["raw_data"];
        assert_eq!(
            (&facts["file"], &facts["period"]["rows"], &facts["measures"][0]["total"]),
            (&json!("sales.csv"), &json!(3), &json!(24))
        );
    }
    let missing = ArtifactRef { hash: ContentHash::from_content(b"?"), ..artifact };
    for (inputs, code) in [
        (json!({}), ErrorCode::MissingInput),
        (json!({ "data_source": "../x.csv" }), ErrorCode::PathNotAllowed),
        (json!({ "data_source": 5 }), ErrorCode::InvalidInput),
        (json!({ "data_source": missing.to_json() }), ErrorCode::UnknownRecord),
        (json!({ "data_source": "sales.csv", "quarter": "Q1 2019" }), ErrorCode::NoDataForPeriod),
    ] {
        assert_eq!(error_of(&DataCollection, &harness, inputs).await.code, code);
    }
}

#[tokio::test]
async fn charts_are_drawn_from_nested_facts_or_from_the_file_of_the_run() {
    let harness = harness();
    let artifact = harness.files.store_artifact(CSV, "sales.csv", "text/csv").await.unwrap();
    let collected = input(json!({ "data_source": artifact.to_json() }), json!({}));
    let facts = DataCollection.run(&collected, &harness.files).await.unwrap()["raw_data"].clone();
    let nested = input(json!({ "financial_data": { "financial_summary": "…", "figures": facts } }), json!({}));
    let by_file =
        input(json!({ "financial_data": {} }), json!({ "data_source": artifact.to_json(), "quarter": "Q4 2024" }));
    for input in [nested, by_file] {
        let outputs = DataVisualization.run(&input, &harness.files).await.unwrap();
        let charts = outputs["charts"].as_array().unwrap();
        assert!(charts.len() >= 3, "{charts:?}");
        for chart in charts {
            let picture = ArtifactRef::from_json(&chart["svg"]).unwrap();
            assert!(picture.name.ends_with(".svg") && picture.media_type == "image/svg+xml");
            let bytes = harness.store.get(&TenantId::default(), &picture.hash, 1 << 20).await.unwrap().unwrap();
            assert!(bytes.starts_with(b"<svg"));
        }
    }
    assert_eq!(
        error_of(&DataVisualization, &harness, json!({ "financial_data": { "text": "none" } })).await.code,
        ErrorCode::InvalidInput
    );
}

#[tokio::test]
async fn an_echo_returns_every_declared_output() {
    let outputs = Echo.run(&input(json!({ "in": 5 }), json!({})), &harness().files).await.unwrap();
    assert_eq!(outputs, [("out".to_owned(), json!(5))].into());
}
