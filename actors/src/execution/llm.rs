//! An agent that is a language model with a prompt.

use greenroom_protocol::{Cause, ErrorCode, Values};

use super::conversation::{self, Conversation};
use super::invocation::ExecutionContext;
use super::memory;
use super::model_call::FallbackChain;
use super::tools::Tools;
use crate::model::OutputSchema;

/// Bytes of values above which a prompt is rendered on a thread of its own.
const INLINE_RENDER_BYTES_MAX: u64 = 64 * 1024;

/// Renders the prompt and holds the conversation to its end.
pub(super) async fn execute(ctx: &ExecutionContext<'_>) -> Result<Values, Cause> {
    let (env, job) = (ctx.env, ctx.job);
    let agent = &job.agent;
    let catalogue = env.resolver.catalogue();
    let internal_only = job.grant.obligations().internal_models_only;
    let asked = job.invoke.options.model.as_deref();
    let mut chain = FallbackChain::new(env.models.candidates_for(catalogue.models(), agent, asked, internal_only)?)?;
    // Boxed: most agents have no memory, and none of them should carry its state.
    let user = Box::pin(memory::recall(ctx, Box::pin(render(ctx)).await?)).await;
    let schema = OutputSchema { name: schema_name(agent.id().as_str()), schema: agent.output_schema() };
    let tools = Tools::for_agent(env, &catalogue, agent);
    let mut conversation = Conversation::new(agent.prompt().system().to_owned(), user, schema, job.key());
    let outputs = conversation::run_conversation(ctx, &mut chain, &mut conversation, &tools).await?;
    Box::pin(memory::remember(ctx, &outputs)).await;
    Ok(outputs)
}

/// The user part. A template over large values takes a while, and no worker may be held for that.
async fn render(ctx: &ExecutionContext<'_>) -> Result<String, Cause> {
    let job = ctx.job;
    let bytes = |values: &Values| values.values().map(greenroom_protocol::value::size_bytes).sum::<u64>();
    if bytes(&job.invoke.inputs) + bytes(&job.invoke.context) <= INLINE_RENDER_BYTES_MAX {
        return job.agent.prompt().render_user(&job.invoke.inputs, &job.invoke.context);
    }
    let agent = std::sync::Arc::clone(&job.agent);
    let (inputs, context) = (job.invoke.inputs.clone(), job.invoke.context.clone());
    tokio::task::spawn_blocking(move || agent.prompt().render_user(&inputs, &context))
        .await
        .map_err(|_| Cause::new(ErrorCode::ExpressionFailed, "the prompt could not be rendered"))?
}

/// Providers want a short name of `[a-z0-9_]`.
fn schema_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    agent.chars().map(plain).take(64).collect()
}
