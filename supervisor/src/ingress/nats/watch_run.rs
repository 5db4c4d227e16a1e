//! Serves a watch of a run. It is judged like any other request, and then reads the journal. NATS does not report that a
//! reader has disconnected, so a watch has a lease: it ends after a while, and its reader requests the next one with the
//! number of its newest event, from any pod. A judgement that takes long does not delay the first frame, without which the
//! reader would send its message again.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use greenroom_protocol::event::{EventNumber, RunEventKind};
use greenroom_protocol::request::Query;
use greenroom_protocol::{
    Cause, Envelope, ErrorCode, Frame, IngressKind, Received, Reply, Request, RequestHeaders, RunId, TenantId,
};
use tokio::time::Instant;

use super::NatsIngress;
use super::claim_check::{OutputKind, shorten};
use super::frames::FrameWriter;
use super::reply::{ReplySubject, to_body};
use super::request::refuse;
use crate::ingress::watching::final_reply;
use crate::ingress::watching::run_frames::Frames;
use crate::pipeline::Served;

/// How long a watch lasts. A reader that requests the next one after 60 seconds has no gap.
const LEASE: Duration = Duration::from_secs(75);
/// After this time without a judgement, a frame tells the reader that the pod works. Readers have one within a second.
const JUDGEMENT_QUICK: Duration = Duration::from_millis(500);
/// Bytes of a message beside the reply in an event.
const ENVELOPE_BYTES: usize = 4 * 1024;
/// When the reader may request the next watch after one that has ended because the pod shuts down.
const DRAIN_RETRY_AFTER: Duration = Duration::from_millis(100);

/// How a watch has ended.
enum WatchEnd {
    /// The run has ended, with this reply.
    Reply(Box<Reply>),
    /// The lease is over, or the connection takes no frames: the reader requests the next watch.
    Lease,
    /// The pod shuts down, or the journal cannot be read.
    Cause(Cause),
}

/// Serves a watch, and returns the code of the error that has ended it.
pub(super) async fn serve(
    ingress: &NatsIngress,
    (run, after): (RunId, EventNumber),
    headers: RequestHeaders,
    reply_to: &ReplySubject,
) -> Option<ErrorCode> {
    let query = Request::Query(Query::Events { run: run.clone(), after });
    let kind = OutputKind::of(&query);
    let envelope = Envelope { version: headers.version, ..Envelope::new(query) };
    let now = ingress.clock().now();
    let received = match Received::from_message(envelope, headers, IngressKind::Nats, ingress.ids(), now) {
        Ok(received) => received,
        Err(cause) => return refuse(ingress, reply_to, cause, true).await,
    };
    let lease = received.deadline().remaining(now).min(LEASE);
    let mut writer = FrameWriter::new(&ingress.connection, &ingress.metrics, reply_to);
    let Served { reply, ticket } = judge(ingress, received.clone(), &mut writer).await;
    ingress.metrics.nats().count_reply(&reply);
    let tenant = ticket.as_ref().and_then(|ticket| ticket.tenant()).cloned();
    if let Some(cause) = reply.error {
        let code = cause.code;
        writer.refuse(cause).await;
        return Some(code);
    }
    // A watch lasts as long as its run, which neither admission control nor a drain waits for.
    drop(ticket);
    writer.accept(ingress.pipeline().pod_name.clone(), Some(run.clone()));
    let watch = Watch { ingress, run: &run, kind, tenant, until: Instant::now() + lease };
    let end = match ingress.local.frames(received, &run, after).await {
        Ok(mut frames) => watch.write_frames(&mut frames, &mut writer).await,
        Err(cause) => WatchEnd::Cause(cause),
    };
    match end {
        WatchEnd::Reply(reply) => {
            writer.reply(&reply).await;
            None
        }
        WatchEnd::Lease => {
            writer.end().await;
            None
        }
        WatchEnd::Cause(cause) => {
            let code = cause.code;
            writer.refuse(cause).await;
            Some(code)
        }
    }
}

/// Has the pipeline judge a watch. Meanwhile its reader learns that the pod works, and not yet that it is permitted.
async fn judge(ingress: &NatsIngress, received: Received, writer: &mut FrameWriter<'_>) -> Served {
    let mut serving: BoxFuture<'_, Served> = ingress.pipeline().serve(received, None).boxed();
    let mut due_at = Instant::now() + JUDGEMENT_QUICK;
    loop {
        tokio::select! {
            biased;
            served = &mut serving => return served,
            () = tokio::time::sleep_until(due_at) => {
                writer.work(ingress.clock());
                due_at = writer.due_at();
            }
        }
    }
}

/// A watch that was permitted.
struct Watch<'w> {
    ingress: &'w NatsIngress,
    run: &'w RunId,
    kind: OutputKind,
    tenant: Option<TenantId>,
    until: Instant,
}

impl Watch<'_> {
    /// Writes the frames until the run, the lease or the pod ends.
    async fn write_frames(&self, frames: &mut Frames, writer: &mut FrameWriter<'_>) -> WatchEnd {
        let mut draining = self.ingress.draining.clone();
        loop {
            let next = tokio::select! {
                next = frames.next() => next,
                () = tokio::time::sleep_until(writer.due_at()) => {
                    writer.on_time(self.ingress.clock());
                    continue;
                }
                () = tokio::time::sleep_until(self.until) => return WatchEnd::Lease,
                _ = draining.wait_for(|is_draining| *is_draining) => return WatchEnd::Cause(shutting_down()),
            };
            let mut frame = match next {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return WatchEnd::Cause(error.into()),
                None => return self.end_of_tail().await,
            };
            let mut last = None;
            if let Frame::Event { event, .. } = &mut frame
                && let RunEventKind::RunEnded { reply } = &mut event.kind
            {
                **reply = self.shortened(Reply::clone(reply)).await;
                last = Some(reply.clone());
            }
            if !writer.frame(&frame).await {
                return WatchEnd::Lease;
            }
            if let Some(reply) = last {
                return WatchEnd::Reply(reply);
            }
        }
    }

    /// The journal has no further entry: the run had ended before the reader's newest event, or the store is closed.
    async fn end_of_tail(&self) -> WatchEnd {
        match final_reply(&self.ingress.local.stores, self.run).await {
            Ok(Some(reply)) => WatchEnd::Reply(Box::new(self.shortened(reply).await)),
            Ok(None) => WatchEnd::Cause(shutting_down()),
            Err(cause) => WatchEnd::Cause(cause),
        }
    }

    /// The reply of the run, which fits into a message together with its event.
    async fn shortened(&self, reply: Reply) -> Reply {
        let bytes_max = self.ingress.connection.max_payload().saturating_sub(ENVELOPE_BYTES);
        if to_body(&reply).len() <= bytes_max {
            return reply;
        }
        shorten(self.ingress, &self.kind, self.tenant.as_ref(), reply, bytes_max).await
    }
}

fn shutting_down() -> Cause {
    Cause::new(ErrorCode::ShuttingDown, "the pod is shutting down: watch the run on another one")
        .with_retry_after(DRAIN_RETRY_AFTER)
}
