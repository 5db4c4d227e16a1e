//! A workflow of the catalogue: its definition with its compiled plan.

use std::sync::Arc;

use greenroom_protocol::{Cause, ContentHash, ErrorCode, Values, WorkflowId};

use crate::canonical::{canonical_body, parse_stored};
use crate::plan::{Plan, PlanProblem};

pub use crate::spec::workflow::{
    ApprovalSpec, CompensateSpec, ForEachSpec, OnError, RunLimits, StepSpec, WaitForSpec, WorkflowSpec,
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
    /// `invalid_definition`; `details.problems` lists every problem.
    pub fn new(spec: WorkflowSpec) -> Result<Self, Cause> {
        let id = spec.workflow_id.clone();
        Self::compile(spec).map_err(|problems| {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Cause::new(ErrorCode::InvalidDefinition, format!("{id}: {}", texts.join("; ")))
                .with_details(serde_json::json!({ "problems": texts }))
        })
    }

    /// As [`Workflow::new`], with the location of each problem in the definition.
    ///
    /// # Errors
    /// All problems.
    pub fn compile(spec: WorkflowSpec) -> Result<Self, Vec<PlanProblem>> {
        let (body, hash) = canonical_body(&spec);
        let plan = Plan::compile(&spec, hash)?;
        Ok(Self { spec, plan: Arc::new(plan), body, hash })
    }

    /// Rebuilds a workflow from its stored body.
    ///
    /// # Errors
    /// `internal` if the body was not produced by [`Workflow::body`].
    pub fn from_body(body: &str) -> Result<Self, Cause> {
        Self::new(parse_stored(body, "workflow")?)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &WorkflowId {
        &self.spec.workflow_id
    }

    /// The definition as written.
    #[must_use]
    pub const fn spec(&self) -> &WorkflowSpec {
        &self.spec
    }

    /// The compiled plan.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The canonical JSON that is hashed and stored.
    #[must_use]
    pub const fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// The hash of the body: its version.
    #[must_use]
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Checks a run's inputs and fills in defaults. A workflow without declared inputs accepts any.
    ///
    /// # Errors
    /// `missing_input` or `invalid_input`; `details.problems` lists every invalid field.
    pub fn validate_inputs(&self, inputs: Values) -> Result<Values, Cause> {
        if self.spec.inputs.is_empty() {
            return Ok(inputs);
        }
        crate::types::validate_inputs(self.id().as_str(), &self.spec.inputs, inputs)
    }
}
