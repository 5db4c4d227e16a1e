//! The handlers of a team's members, with the script of the harness.

use async_trait::async_trait;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, Json, RequestId, Values};

use super::definitions::{RecordedCall, Script};
use crate::execution::host_calls::HostCall;
use crate::execution::runtime::{ExecutionContext, Runtime};
use crate::handler::{FileAccess, Handler, HandlerInput, HandlerMode};

/// The handler `native.test`.
pub(super) struct TestHandler(pub(super) Script);

#[async_trait]
impl Handler for TestHandler {
    fn name(&self) -> &'static str {
        "native.test"
    }
    fn mode(&self) -> HandlerMode {
        HandlerMode::Async
    }
    async fn run(&self, work: &HandlerInput, _: &FileAccess) -> Result<Values, Cause> {
        let call = RecordedCall {
            agent: work.agent.id().to_string(),
            inputs: work.inputs.clone(),
            context: work.context.clone(),
            key: work.key.to_string(),
            request: RequestId::from_u128(0),
            attempt: 0,
            approvals: None,
        };
        (self.0)(call).await
    }
}

/// The runtime `python`: each handler writes the members of its input `data` into the context, unless the context has them
/// already, and then does what the script does.
pub(super) struct WritingRuntime(pub(super) Script);

#[async_trait]
impl Runtime for WritingRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Python
    }

    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let invocation = ctx.invocation();
        let (inputs, context) = (invocation.invoke.inputs.clone(), invocation.invoke.context.clone());
        let data = inputs.get("data").and_then(Json::as_object).cloned().unwrap_or_default();
        for (key, value) in data.into_iter().filter(|(key, _)| !context.contains_key(key)) {
            ctx.host_call(HostCall::WriteContext { key, value }, 1).await?;
        }
        let call = RecordedCall {
            agent: invocation.agent.id().to_string(),
            inputs: inputs.clone(),
            context,
            key: invocation.key().to_string(),
            request: RequestId::from_u128(0),
            attempt: 0,
            approvals: None,
        };
        invocation.agent.validate_outputs(&inputs, (self.0)(call).await?)
    }
}
