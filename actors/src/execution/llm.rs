//! An agent that is a language model with a prompt.

use greenroom_protocol::{Cause, Code, Values};

use super::conversation::{self, Talk};
use super::invocation::Scene;
use super::memory;
use super::model_call::Cast;
use super::tools::Tools;
use crate::model::OutputSchema;

/// Bytes of values above which a prompt is rendered on a thread of its own.
const INLINE_RENDER_BYTES_MAX: u64 = 64 * 1024;

/// Renders the prompt and holds the conversation to its end.
pub(super) async fn execute(scene: &Scene<'_>) -> Result<Values, Cause> {
    let (backstage, job) = (scene.backstage, scene.job);
    let agent = &job.agent;
    let catalogue = backstage.library.catalogue();
    let internal_only = job.grant.obligations().internal_models_only;
    let asked = job.invoke.options.model.as_deref();
    let mut cast = Cast::new(backstage.models.cast(catalogue.models(), agent, asked, internal_only)?)?;
    // Boxed: most agents have no memory, and none of them should carry its state.
    let user = Box::pin(memory::recall(scene, Box::pin(render(scene)).await?)).await;
    let schema = OutputSchema { name: schema_name(agent.id().as_str()), schema: agent.output_schema() };
    let tools = Tools::of(backstage, &catalogue, agent);
    let mut talk = Talk::new(agent.prompt().system().to_owned(), user, schema, job.key());
    let outputs = conversation::hold(scene, &mut cast, &mut talk, &tools).await?;
    Box::pin(memory::remember(scene, &outputs)).await;
    Ok(outputs)
}

/// The user part. A template over large values takes a while, and no worker may be held for that.
async fn render(scene: &Scene<'_>) -> Result<String, Cause> {
    let job = scene.job;
    let bytes = |values: &Values| values.values().map(greenroom_protocol::value::size_bytes).sum::<u64>();
    if bytes(&job.invoke.inputs) + bytes(&job.invoke.context) <= INLINE_RENDER_BYTES_MAX {
        return job.agent.prompt().render_user(&job.invoke.inputs, &job.invoke.context);
    }
    let agent = std::sync::Arc::clone(&job.agent);
    let (inputs, context) = (job.invoke.inputs.clone(), job.invoke.context.clone());
    tokio::task::spawn_blocking(move || agent.prompt().render_user(&inputs, &context))
        .await
        .map_err(|_| Cause::new(Code::ExpressionFailed, "the prompt could not be rendered"))?
}

/// Providers want a short name of `[a-z0-9_]`.
fn schema_name(agent: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    agent.chars().map(plain).take(64).collect()
}
