//! Agents that need labels, with remote hosts that record what they receive.

use super::*;
use crate::remote::{Host, RemoteCall, RemoteHosts};

/// Has no label itself, and one host for agents with labels.
struct RecordingHosts(Host, Mutex<Vec<RemoteCall>>);

#[async_trait]
impl RemoteHosts for RecordingHosts {
    fn host(&self, labels: &[String]) -> Host {
        if labels.is_empty() { Host::Here } else { self.0.clone() }
    }

    async fn invoke(&self, labels: &[String], call: RemoteCall) -> ExecutionResult {
        assert_eq!(labels, ["gpu"]);
        self.1.lock().unwrap().push(call);
        Ok(Outcome { outputs: Values::from([("summary".to_owned(), json!("from afar"))]), usage: Usage::default() })
    }
}

async fn dispatch(host: Host, agent: &str) -> (ExecutionResult, Vec<RemoteCall>) {
    let hosts = Arc::new(RecordingHosts(host, Mutex::default()));
    let harness = harness_with(hosts.clone()).await;
    let permit = harness.test_env.permit(testing::admin(), invoke(agent, "x")).await;
    let result = harness.dispatcher.invoke(&harness.audit_entry, permit).await;
    let calls = hosts.1.lock().unwrap().clone();
    (result, calls)
}

#[tokio::test]
async fn an_agent_whose_labels_this_pod_lacks_is_executed_by_another_one() {
    let other = Host::Pod(PodId::new("two").unwrap());
    let (result, calls) = dispatch(other.clone(), "placed").await;
    assert_eq!(result.unwrap().outputs["summary"], "from afar");
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(call.invoke.version.as_ref(), call.grant.version(), "pinned to the authorized version");
    assert_eq!((call.invoke.key.clone(), call.fence), (Some(call.grant.effect_key()), None));
    let (result, calls) = dispatch(other, "other").await;
    assert_eq!((&result.unwrap().outputs["summary"], calls.len()), (&json!("other"), 0), "it needs no labels");
}

#[tokio::test]
async fn an_agent_whose_labels_this_pod_has_is_executed_here() {
    let (result, calls) = dispatch(Host::Here, "placed").await;
    assert_eq!((&result.unwrap().outputs["summary"], calls.len()), (&json!("placed"), 0));
}

#[tokio::test]
async fn without_a_pod_with_the_labels_nothing_is_executed() {
    let (result, calls) = dispatch(Host::None, "placed").await;
    let cause = result.unwrap_err().cause;
    assert_eq!((cause.code, calls.len()), (ErrorCode::NoPodForLabels, 0), "{cause}");
}
