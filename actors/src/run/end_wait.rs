//! Waits for the end of a run, whichever pod it is active on. A run that is given up while it is awaited has no end, and
//! its caller gets the cause.

use futures::StreamExt;
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::Entry;
use greenroom_protocol::{Cause, ErrorCode, Reply, RunId};

use super::RunEnv;
use super::handle::RunsHandle;

impl RunsHandle {
    /// Waits for the end of a run, without a deadline, for a caller that is stopped from outside.
    ///
    /// # Errors
    /// The cause by which the run was given up; an error of the store.
    pub(super) async fn wait_reply(&self, run: &RunId) -> Result<Reply, Cause> {
        if let Some(mut hosted) = self.hosted_runs().find(run) {
            let ended = hosted.progress.wait_for(|progress| progress.reply.is_some()).await;
            if let Some(reply) = ended.ok().and_then(|progress| progress.reply.clone()) {
                return Ok(reply.as_ref().clone());
            }
        }
        // Its actor is not hosted here or has failed, so the reply comes from the journal.
        let RunEnv { stores, .. } = &**self.env();
        // Read first, so that an end which another pod records at this moment is in the reply or in the tail.
        let record = self.record(run).await?;
        if record.status == RunStatus::Dead
            && let Some(cause) = self.dead_cause(&record).await?
        {
            return Err(cause);
        }
        if let Some(reply) = stores.runs.reply(run).await.map_err(|error| error.cause())? {
            return Ok(reply);
        }
        let mut tail = stores.journal.tail(run, record.seq);
        while let Some(next) = tail.next().await {
            match next.map_err(|error| error.cause())?.entry {
                Entry::RunEnded { reply } => return Ok(*reply),
                Entry::RunGivenUp { cause, .. } => return Err(cause),
                _ => {}
            }
        }
        let reply = stores.runs.reply(run).await.map_err(|error| error.cause())?;
        reply.ok_or_else(|| Cause::new(ErrorCode::Interrupted, "the process ended before the run did"))
    }
}
