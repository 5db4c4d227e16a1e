//! Who watches a run. A watch lasts longer than the request that was judged, so each frame is sent only while its watcher is a
//! principal: a revocation ends it.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use greenroom_client::TransportError;
use greenroom_protocol::{Cause, Clock, ErrorCode, PrincipalId};
use greenroom_rego::Authenticator;

use super::run_frames::Frames;

/// The principal of a watch that was permitted.
pub(crate) struct Watcher {
    pub(crate) principal: PrincipalId,
    pub(crate) authenticator: Authenticator,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Watcher {
    /// The frames until the watcher is revoked; the error is the last item then.
    pub(crate) fn until_revoked(self, frames: Frames) -> Frames {
        let guarded = stream::unfold(Some((frames, self)), |state| async move {
            let (mut frames, watcher) = state?;
            let frame = frames.next().await?;
            match watcher.check().await {
                Ok(()) => Some((frame, Some((frames, watcher)))),
                Err(cause) => Some((Err(TransportError::Rejected(cause)), None)),
            }
        });
        guarded.boxed()
    }

    async fn check(&self) -> Result<(), Cause> {
        if self.authenticator.has_principal(&self.principal, self.clock.now()).await? {
            return Ok(());
        }
        Err(Cause::new(ErrorCode::Unauthenticated, "the principal of this watch is revoked, or has ended"))
    }
}
