//! A workflow: steps, what each one depends on, and what the run gives back.

use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode, Values, WorkflowId};

use crate::canonical::{canonical_body, parse_stored};
use crate::plan::{Plan, PlanProblem};

pub use crate::spec::workflow::{
    ApprovalSpec, CompensateSpec, ForEachSpec, OnError, RunLimits, StepSpec, WorkflowSpec,
};

/// A workflow of the catalogue, with its compiled plan.
#[derive(Debug, Clone)]
pub struct Workflow {
    spec: WorkflowSpec,
    plan: Arc<Plan>,
    body: Arc<str>,
    hash: ContentHash,
}

impl Workflow {
    /// Compiles a workflow.
    ///
    /// # Errors
    /// `invalid_definition`, with everything that is wrong in `details.problems`.
    pub fn new(spec: WorkflowSpec) -> Result<Self, Cause> {
        let id = spec.workflow_id.clone();
        Self::compile(spec).map_err(|faults| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Cause::new(ErrorCode::InvalidDefinition, format!("{id}: {}", texts.join("; ")))
                .with_details(serde_json::json!({ "problems": texts }))
        })
    }

    /// As [`Workflow::new`], with each fault and the part that it is in.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compile(spec: WorkflowSpec) -> Result<Self, Vec<PlanProblem>> {
        let (body, hash) = canonical_body(&spec);
        let plan = Plan::compile(&spec, hash)?;
        Ok(Self { spec, plan: Arc::new(plan), body, hash })
    }

    /// Rebuilds a workflow from the body that the registry kept.
    ///
    /// # Errors
    /// `internal`, if the body is not one that [`Workflow::body`] gave.
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Self::new(parse_stored(body, "workflow")?)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &WorkflowId {
        &self.spec.workflow_id
    }

    /// The workflow as written.
    #[must_use]
    pub const fn spec(&self) -> &WorkflowSpec {
        &self.spec
    }

    /// The compiled plan.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The canonical JSON that is hashed and kept.
    #[must_use]
    pub const fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// The hash of the body: its version.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Checks a run's inputs and fills in defaults. A workflow that declares no input takes any.
    ///
    /// # Errors
    /// `missing_input` or `invalid_input`; every field that is wrong is in `details.problems`.
    pub fn validate_inputs(&self, inputs: Values) -> Result<Values, Cause> {
        if self.spec.inputs.is_empty() {
            return Ok(inputs);
        }
        crate::types::validate_inputs(self.id().as_str(), &self.spec.inputs, inputs)
    }
}
