//! A request of a run to the shared context of its team.

use std::time::Duration;

use greenroom_protocol::reply::Usage;
use greenroom_protocol::{CallKey, Cause, ErrorCode, Request, Values};
use greenroom_rego::NameSet;

use super::{EffectContext, outputs_of};

/// Repetitions of a request whose context has failed.
const REPEATS_MAX: u32 = 4;
/// Delay before the first repetition; it grows with each, because a failed team is restarted with a back-off.
const REPEAT_DELAY: Duration = Duration::from_millis(50);

impl EffectContext {
    /// Issues a request to the team's context. If the actor of the context, or of its team, fails meanwhile, the request
    /// is repeated to the next one: it reads, or it replaces a value, so it may be executed twice.
    pub(super) async fn issue_to_context(
        &self,
        key: &CallKey,
        attempt: u32,
        request: Request,
        policies: &NameSet,
        usage: &mut Usage,
    ) -> Result<Values, Cause> {
        let mut repeats = 0;
        loop {
            let id = match repeats {
                0 => key.request_id(attempt),
                number => key.child(&format!("repeat[{number}]")).request_id(attempt),
            };
            let reply = self.env.pipeline.handle(self.grant.issue_request_for(id, request.clone(), policies)).await;
            usage.add(&reply.usage());
            match outputs_of(reply) {
                Err(cause) if cause.code == ErrorCode::AgentCrashed && repeats < REPEATS_MAX => {
                    tracing::debug!(run.id = %self.started.run, cause = %cause, "request to a context is repeated");
                }
                result => return result,
            }
            repeats += 1;
            tokio::time::sleep(REPEAT_DELAY.saturating_mul(repeats)).await;
        }
    }
}
