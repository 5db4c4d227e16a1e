//! Serves one request through the pipeline, and replies with one message or with frames.

use std::task::Poll;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use greenroom_actors::execution::AnswerEvent;
use greenroom_protocol::frame::ReplyFrame;
use greenroom_protocol::{Cause, Envelope, ErrorCode, IngressKind, Received, Reply, RequestHeaders, TenantId};
use tokio::sync::mpsc;

use super::NatsIngress;
use super::claim_check::{OutputKind, shorten};
use super::frames::{FrameWriter, refusal};
use super::reply::{ReplySubject, error_of, to_body};
use super::starting::Starting;
use crate::pipeline::Served;

/// Events of an answer that wait to be read here. They are read at once, so the model does not wait.
const EVENTS_MAX: usize = 256;
/// Bytes of a message beside its reply: the headers, and what a frame adds.
const ENVELOPE_BYTES: usize = 2 * 1024;
/// Bytes of a reply that any server accepts.
const REPLY_BYTES_MIN: usize = 1024;

/// Serves a request, and returns the code of its error. `starting` is dropped once it is admitted.
pub(super) async fn serve(
    ingress: &NatsIngress,
    (envelope, headers): (Envelope, RequestHeaders),
    reply_to: &ReplySubject,
    starting: Starting,
) -> Option<ErrorCode> {
    let (kind, wants_frames) = (OutputKind::of(&envelope.request), headers.wants_frames);
    let now = ingress.clock().now();
    match Received::from_message(envelope, headers, IngressKind::Nats, ingress.ids(), now) {
        Ok(received) if wants_frames => serve_frames(ingress, received, &kind, reply_to, starting).await,
        Ok(received) => {
            let mut serving: BoxFuture<'_, Served> = ingress.pipeline().serve(received, None).boxed();
            let served = match futures::poll!(&mut serving) {
                Poll::Ready(served) => served,
                Poll::Pending => {
                    drop(starting);
                    serving.await
                }
            };
            let Served { reply, ticket } = served;
            let tenant = ticket.as_ref().and_then(|ticket| ticket.tenant());
            let (reply, body) = fitting(ingress, &kind, tenant, reply, to_body).await;
            ingress.metrics.nats().count_reply(&reply);
            reply_to.send(&ingress.connection, error_of(&reply), body).await;
            drop(ticket);
            error_of(&reply).map(|cause| cause.code)
        }
        Err(cause) => refuse(ingress, reply_to, cause, wants_frames).await,
    }
}

async fn serve_frames(
    ingress: &NatsIngress,
    received: Received,
    kind: &OutputKind,
    reply_to: &ReplySubject,
    starting: Starting,
) -> Option<ErrorCode> {
    let (sink, mut events) = mpsc::channel(EVENTS_MAX);
    let mut serving: BoxFuture<'_, Served> = ingress.pipeline().serve(received, Some(sink)).boxed();
    let mut writer = FrameWriter::new(&ingress.connection, &ingress.metrics, reply_to);
    // A request that is rejected at once has its reply as its only frame.
    let served = match futures::poll!(&mut serving) {
        Poll::Ready(served) => served,
        Poll::Pending => {
            drop(starting);
            writer.accept_soon(&ingress.pipeline().pod_name);
            write_until_served(ingress, &mut serving, &mut events, &mut writer).await
        }
    };
    while let Ok(event) = events.try_recv() {
        write_event(&mut writer, event).await;
    }
    let Served { reply, ticket } = served;
    let tenant = ticket.as_ref().and_then(|ticket| ticket.tenant());
    let (reply, body) = fitting(ingress, kind, tenant, reply, |reply| to_body(&ReplyFrame { reply })).await;
    ingress.metrics.nats().count_reply(&reply);
    writer.reply_body(error_of(&reply), body).await;
    drop(ticket);
    error_of(&reply).map(|cause| cause.code)
}

/// Writes frames until the request is served.
async fn write_until_served(
    ingress: &NatsIngress,
    serving: &mut BoxFuture<'_, Served>,
    events: &mut mpsc::Receiver<AnswerEvent>,
    writer: &mut FrameWriter<'_>,
) -> Served {
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            served = &mut *serving => return served,
            event = events.recv(), if is_open => match event {
                Some(event) => write_event(writer, event).await,
                None => is_open = false,
            },
            () = tokio::time::sleep_until(writer.due_at()) => writer.on_time(ingress.clock()),
        }
    }
}

async fn write_event(writer: &mut FrameWriter<'_>, event: AnswerEvent) {
    match event {
        AnswerEvent::Text(text) => writer.add_text(&text),
        AnswerEvent::Restarted => {
            writer.restart().await;
        }
    }
}

/// The reply and its document, which the server accepts.
async fn fitting(
    ingress: &NatsIngress,
    kind: &OutputKind,
    tenant: Option<&TenantId>,
    reply: Reply,
    to_document: impl Fn(&Reply) -> Vec<u8> + Send,
) -> (Reply, Vec<u8>) {
    let body = to_document(&reply);
    let bytes_max = ingress.connection.max_payload().saturating_sub(ENVELOPE_BYTES).max(REPLY_BYTES_MIN);
    if body.len() <= bytes_max {
        return (reply, body);
    }
    let reply = shorten(ingress, kind, tenant, reply, bytes_max).await;
    let body = to_document(&reply);
    (reply, body)
}

/// Replies to a message that is not served, and returns the code.
pub(super) async fn refuse(
    ingress: &NatsIngress,
    reply_to: &ReplySubject,
    cause: Cause,
    wants_frames: bool,
) -> Option<ErrorCode> {
    let body = refused(ingress, &cause, wants_frames);
    reply_to.send(&ingress.connection, Some(&cause), body).await;
    if wants_frames {
        reply_to.end(&ingress.connection).await;
    }
    Some(cause.code)
}

/// As [`refuse`], for a caller that cannot wait.
pub(super) fn refuse_now(ingress: &NatsIngress, reply_to: &ReplySubject, cause: &Cause, wants_frames: bool) {
    let body = refused(ingress, cause, wants_frames);
    if reply_to.try_send(&ingress.connection, Some(cause), body) && wants_frames {
        reply_to.try_end(&ingress.connection);
    }
}

fn refused(ingress: &NatsIngress, cause: &Cause, wants_frames: bool) -> Vec<u8> {
    ingress.metrics.nats().count_refusal(cause.code);
    let reply = ingress.refuse(cause.clone());
    if wants_frames { refusal(cause) } else { to_body(&reply) }
}
