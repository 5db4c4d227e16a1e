//! What the tick of the store finds, about once a second: trees of runs that are to be claimed, and messages for runs of
//! this pod. Trees are claimed by a pod that recovers runs; messages are delivered by every pod, also by one that lives as
//! long as a command.

use futures::stream::{self, FuturesUnordered, StreamExt};
use greenroom_actors::run::{RecoveryReport, RunsHandle};
use greenroom_actors::supervision::ChildKind;
use greenroom_protocol::Cause;
use greenroom_registry::cluster::{DueWork, RunMessage};
use tokio::sync::watch;

use crate::services::Service;

/// Rounds of claims in which trees are being resumed; a tree that is resumed slowly delays no other one.
const ROUNDS_MAX: usize = 4;
/// Messages that are delivered concurrently.
const DELIVERIES_MAX: usize = 16;

/// Claims trees of runs whenever some are due, and resumes them.
pub(crate) fn claims(runs: RunsHandle) -> Service {
    Service::droppable("claims", ChildKind::Periodic, move || {
        let runs = runs.clone();
        async move {
            let work = runs.watch_due_work();
            claim_due(&runs, work).await
        }
    })
}

/// Delivers the messages that other pods have sent to runs of this one.
pub(crate) fn deliveries(runs: RunsHandle) -> Service {
    Service::droppable("deliveries", ChildKind::Periodic, move || {
        let runs = runs.clone();
        async move {
            let work = runs.watch_due_work();
            deliver(&runs, work).await
        }
    })
}

async fn claim_due(runs: &RunsHandle, mut work: watch::Receiver<DueWork>) -> Result<(), String> {
    let mut rounds = FuturesUnordered::new();
    loop {
        tokio::select! {
            changed = work.changed() => {
                if changed.is_err() {
                    // The store was dropped.
                    return Ok(());
                }
                let has_due_trees = work.borrow_and_update().has_due_trees;
                if has_due_trees && rounds.len() < ROUNDS_MAX {
                    rounds.push(Box::pin(runs.recover_due()));
                }
            }
            // There may be more of them than one round claims.
            Some(round) = rounds.next(), if !rounds.is_empty() => if has_claimed(round) {
                rounds.push(Box::pin(runs.recover_due()));
            }
        }
    }
}

/// Reports a round; true if it has claimed a tree.
fn has_claimed(round: Result<RecoveryReport, Cause>) -> bool {
    match round {
        Ok(RecoveryReport { resumed: 0, terminated: 0, dead: 0, deferred: 0 }) => false,
        Ok(RecoveryReport { resumed, terminated, dead, deferred }) => {
            tracing::info!(
                runs.resumed = resumed,
                runs.terminated = terminated,
                runs.dead = dead,
                runs.deferred = deferred,
                "resumed trees of runs without an owner"
            );
            true
        }
        Err(cause) => {
            tracing::warn!(error.code = %cause.code, error.message = cause.message, "cannot claim trees of runs");
            false
        }
    }
}

async fn deliver(runs: &RunsHandle, mut work: watch::Receiver<DueWork>) -> Result<(), String> {
    while work.changed().await.is_ok() {
        let messages: Vec<RunMessage> = work.borrow_and_update().messages.clone();
        let deliveries = stream::iter(messages).map(|message| deliver_one(runs, message));
        deliveries.buffer_unordered(DELIVERIES_MAX).collect::<Vec<()>>().await;
    }
    // The store was dropped.
    Ok(())
}

async fn deliver_one(runs: &RunsHandle, message: RunMessage) {
    if let Err(cause) = runs.deliver(&message).await {
        tracing::warn!(
            run.id = %message.run, request.id = %message.id, error.code = %cause.code, error.message = cause.message,
            "a message is delivered later"
        );
    }
}
