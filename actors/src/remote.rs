//! The seam to other pods: which pod executes an agent that needs labels, and how an invocation is sent to it. This crate
//! knows neither the transport nor the address of a pod; a pod that is alone has [`OwnLabels`].

use async_trait::async_trait;
use greenroom_protocol::request::Invoke;
use greenroom_protocol::{CallKey, Cause, ErrorCode, PodId};
use greenroom_registry::runs::Fence;
use greenroom_rego::Grant;

use crate::agent::ExecutionResult;
use crate::execution::DeltaSink;

/// Where an agent with labels is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// On this pod, which has all of them.
    Here,
    /// On another pod; the one that would be chosen at this moment.
    Pod(PodId),
    /// No pod that is alive has all of them.
    None,
}

/// An invocation that another pod is to execute. It is a request and no permit: that pod decides again.
#[derive(Debug, Clone)]
pub struct RemoteCall {
    /// The grant of the permit on this pod; the delegation states its call chain.
    pub grant: Grant,
    /// The request, pinned to the authorized version, with the key of its effect.
    pub invoke: Invoke,
    /// The fence of the tree of runs that the request belongs to; `None` outside of a run.
    pub fence: Option<Fence>,
    /// Receives the answer of the model while it is written.
    pub sink: Option<DeltaSink>,
}

impl RemoteCall {
    /// The key of the call: the pod that executes it joins an execution with the same key.
    #[must_use]
    pub fn key(&self) -> CallKey {
        self.invoke.key.clone().unwrap_or_else(|| self.grant.effect_key())
    }
}

/// The pods that have labels.
#[async_trait]
pub trait RemoteHosts: Send + Sync {
    /// Where an agent that needs these labels is executed.
    fn host(&self, labels: &[String]) -> Host;

    /// Has a pod with these labels execute the invocation, and waits for its reply until the deadline. A pod that is at
    /// its limit, or that ends meanwhile, is followed by another one, with the same key. Dropping the future aborts the
    /// execution.
    ///
    /// # Errors
    /// [`ErrorCode::NoPodForLabels`]; the cause of the other pod.
    async fn invoke(&self, labels: &[String], call: RemoteCall) -> ExecutionResult;
}

/// No other pod, and the labels of this one.
#[derive(Debug, Clone, Default)]
pub struct OwnLabels(pub Vec<String>);

#[async_trait]
impl RemoteHosts for OwnLabels {
    fn host(&self, labels: &[String]) -> Host {
        if has_labels(&self.0, labels) { Host::Here } else { Host::None }
    }

    async fn invoke(&self, labels: &[String], _call: RemoteCall) -> ExecutionResult {
        Err(no_pod_error(labels).into())
    }
}

/// True if the labels of a pod have all that are needed.
#[must_use]
pub fn has_labels(labels: &[String], needed: &[String]) -> bool {
    needed.iter().all(|label| labels.contains(label))
}

/// The cause of a call for which there is no pod.
#[must_use]
pub fn no_pod_error(labels: &[String]) -> Cause {
    let message = format!("no pod that is alive has the labels {}", labels.join(", "));
    Cause::new(ErrorCode::NoPodForLabels, message).with_details(serde_json::json!({ "labels": labels }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_alone_executes_agents_whose_labels_it_has() {
        let own = OwnLabels(vec!["gpu".to_owned(), "eu".to_owned()]);
        assert_eq!(own.host(&[]), Host::Here);
        assert_eq!(own.host(&["eu".to_owned()]), Host::Here);
        assert_eq!(own.host(&["eu".to_owned(), "cpu".to_owned()]), Host::None);
    }

    #[test]
    fn the_cause_names_the_labels_and_can_be_retried() {
        let cause = no_pod_error(&["gpu".to_owned(), "eu".to_owned()]);
        assert!(cause.code.is_retryable() && cause.message.ends_with("gpu, eu"), "{cause}");
        assert_eq!(cause.details["labels"], serde_json::json!(["gpu", "eu"]));
    }
}
