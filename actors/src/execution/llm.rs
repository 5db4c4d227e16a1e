//! Executes agents that are a language model with a prompt.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_definitions::agent::RuntimeKind;
use greenroom_protocol::{Cause, ErrorCode, Values};

use super::conversation::{self, Conversation};
use super::memory;
use super::model_call::FallbackChain;
use super::runtime::{ExecutionContext, Runtime};
use super::suspension;
use super::tools::ToolSet;
use crate::concurrency::spawn_blocking;
use crate::model::OutputSchema;

/// Bytes of values above which a prompt is rendered on a blocking thread.
const INLINE_RENDER_BYTES_MAX: u64 = 64 * 1024;

/// Executes agents by language models.
#[derive(Debug, Clone, Copy, Default)]
pub struct LlmRuntime;

#[async_trait]
impl Runtime for LlmRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Llm
    }

    /// Renders the prompt and runs the conversation to its end.
    async fn execute(&self, ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
        let (env, invocation) = (ctx.env, ctx.invocation);
        let agent = &invocation.agent;
        if agent.needs_tool_approval() && invocation.invoke.approvals.is_none() {
            return Err(suspension::no_approver(agent.id().as_str()));
        }
        let catalogue = env.resolver.catalogue();
        let internal_only = invocation.grant.obligations().internal_models_only;
        let model = invocation.invoke.options.model.as_deref();
        let candidates = env.models.candidates_for(catalogue.models(), agent, model, internal_only)?;
        let mut chain = FallbackChain::new(candidates)?;
        let schema = OutputSchema { name: schema_name(agent.id().as_str()), schema: agent.output_schema() };
        // Boxed, because most agents have no tools that are described by a server.
        let tools = Box::pin(ToolSet::for_agent(env, &catalogue, agent)).await;
        let system = agent.prompt().system().to_owned();
        let mut conversation = match Box::pin(suspension::load(ctx)).await? {
            Some(continuation) => Conversation::resume(system, schema, invocation.key(), continuation),
            None => {
                // Boxed, because most agents have no memory and should not carry the state of its future.
                let user = Box::pin(memory::recall(ctx, Box::pin(render(ctx)).await?)).await;
                Conversation::new(system, user, schema, invocation.key())
            }
        };
        let outputs = conversation::run_conversation(ctx, &mut chain, &mut conversation, &tools).await?;
        Box::pin(memory::remember(ctx, &outputs)).await;
        Ok(outputs)
    }
}

/// Renders the user part. A template over large values takes long, so it is rendered on a blocking thread.
async fn render(ctx: &ExecutionContext<'_>) -> Result<String, Cause> {
    let invocation = ctx.invocation;
    let bytes = |values: &Values| values.values().map(greenroom_protocol::value::size_bytes).sum::<u64>();
    if bytes(&invocation.invoke.inputs) + bytes(&invocation.invoke.context) <= INLINE_RENDER_BYTES_MAX {
        return invocation.agent.prompt().render_user(&invocation.invoke.inputs, &invocation.invoke.context);
    }
    let agent = Arc::clone(&invocation.agent);
    let (inputs, context) = (invocation.invoke.inputs.clone(), invocation.invoke.context.clone());
    spawn_blocking(move || agent.prompt().render_user(&inputs, &context))
        .await
        .map_err(|_| Cause::new(ErrorCode::ExpressionFailed, "cannot render the prompt"))?
}

/// Derives a schema name of `[a-z0-9_]`, as providers require it.
fn schema_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    agent.chars().map(plain).take(64).collect()
}
