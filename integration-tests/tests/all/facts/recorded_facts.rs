//! Records which relations the policy input of each decision states.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use greenroom_rego::{EvaluationError, Evaluator, Explanation, Input, PolicyDecision};

/// The facts about how a request relates to its resource and to its caller. The others are of the request itself.
const RELATIONS: [&str; 9] = [
    "own_tenant",
    "without_run",
    "workflow_step",
    "team_workflow",
    "team_member",
    "can_work_with",
    "tool_declared",
    "provides_to_team",
    "own_memory",
];

/// The action of each decision, and the relations that its input states.
#[derive(Default)]
pub(super) struct RecordedFacts(Mutex<Vec<(String, Vec<String>)>>);

impl RecordedFacts {
    /// Wraps the evaluator of a pod.
    pub(super) fn wrap(self: &Arc<Self>, engines: Arc<dyn Evaluator>) -> Arc<dyn Evaluator> {
        Arc::new(RecordingEvaluator { engines, recorded: Arc::clone(self) })
    }

    /// The decisions since the last call.
    pub(super) fn take(&self) -> Vec<(String, Vec<String>)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, input: &Input) {
        let document = serde_json::to_value(input).unwrap_or_default();
        let action = document["action"].as_str().unwrap_or_default().to_owned();
        let stated = RELATIONS.into_iter().filter(|name| document["facts"][*name] == 1);
        let relations = stated.map(str::to_owned).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((action, relations));
    }
}

struct RecordingEvaluator {
    engines: Arc<dyn Evaluator>,
    recorded: Arc<RecordedFacts>,
}

#[async_trait]
impl Evaluator for RecordingEvaluator {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.recorded.record(&input);
        self.engines.decide(input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.engines.explain(input).await
    }
}
