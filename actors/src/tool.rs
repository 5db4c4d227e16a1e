//! The seam behind which native tools stand: what an agent may use besides other agents.

use async_trait::async_trait;
use greenroom_protocol::{Cause, Json, Values};

use crate::handler::{FileAccess, HandlerMode};

/// What a tool's name begins with in a definition and in a request.
pub const NATIVE_PREFIX: &str = "native:";

/// A native tool.
#[async_trait]
pub trait Tool: Send + Sync {
    /// Its name, without `native:`.
    fn name(&self) -> &str;

    /// What it does, for the model that may use it.
    fn description(&self) -> &str;

    /// The JSON Schema of its arguments: an object.
    fn parameters(&self) -> Json;

    /// Whether it gives its thread back.
    fn mode(&self) -> HandlerMode;

    /// Does it once and gives a result.
    ///
    /// # Errors
    /// A [`Cause`] that the model may read.
    async fn call(&self, arguments: &Values, files: &FileAccess) -> Result<Json, Cause>;
}
