//! Writes the frames of one reply. The text of a model is collected for a moment and sent as one frame, so that a reader
//! never slows the model: text that the connection does not take at once is dropped, and nothing else is. The acceptance
//! of a request waits for a moment too: if the request is served meanwhile, its reply says the same.

use std::time::Duration;

use greenroom_protocol::frame::ReplyFrame;
use greenroom_protocol::limits::PROTOCOL_VERSION;
use greenroom_protocol::{Cause, Clock, Frame, FrameId, PodId, Reply, RunId};
use tokio::time::Instant;

use super::connection::NatsConnection;
use super::reply::{ReplySubject, error_of, to_body};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::DroppedMessage;

/// How long the acceptance of a request waits for a frame that makes it needless. The first frame is due within a second.
const ACCEPTANCE_DELAY: Duration = Duration::from_millis(250);
/// How long text is collected after a frame of text.
const TEXT_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of text that are collected at most.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that one byte of text may have in a message, and some for the rest of the frame.
const ESCAPED_BYTES_MAX: usize = 8;
/// The longest time without a frame, for the reader to know that the pod works.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Writes the frames of one reply.
pub(super) struct FrameWriter<'w> {
    connection: &'w NatsConnection,
    metrics: &'w Metrics,
    reply_to: &'w ReplySubject,
    /// The pod of an acceptance that is not sent yet, and when it is due.
    acceptance: Option<(&'w PodId, Instant)>,
    /// The number of the last frame of text.
    n: u64,
    text: String,
    /// When text may be sent again.
    text_at: Instant,
    sent_at: Instant,
}

impl<'w> FrameWriter<'w> {
    pub(super) fn new(connection: &'w NatsConnection, metrics: &'w Metrics, reply_to: &'w ReplySubject) -> Self {
        let now = Instant::now();
        let text = String::new();
        Self { connection, metrics, reply_to, acceptance: None, n: 0, text, text_at: now, sent_at: now }
    }

    /// Sends the first frame.
    pub(super) fn accept(&mut self, pod: PodId, run: Option<RunId>) {
        self.acceptance = None;
        self.try_send(&Frame::Accepted { pod, run, version: PROTOCOL_VERSION });
    }

    /// Sends the first frame soon, or as soon as another one needs it, unless the reply is earlier.
    pub(super) fn accept_soon(&mut self, pod: &'w PodId) {
        self.acceptance = Some((pod, Instant::now() + ACCEPTANCE_DELAY));
    }

    /// Adds text, which is sent now or soon.
    pub(super) fn add_text(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() >= TEXT_BYTES_MAX || Instant::now() >= self.text_at {
            self.send_text();
        }
    }

    /// The text so far is void. False if the connection does not take the frame in time.
    pub(super) async fn restart(&mut self) -> bool {
        self.text.clear();
        self.send_acceptance();
        let id = self.next_id();
        self.send(&Frame::Restarted { id, step: None }).await
    }

    /// Sends a frame of a run; text is dropped if the connection does not take it at once. False as for
    /// [`FrameWriter::restart`].
    pub(super) async fn frame(&mut self, frame: &Frame) -> bool {
        if let Frame::Delta { .. } = frame {
            self.sent_at = Instant::now();
            self.try_send_text(frame);
            return true;
        }
        self.send(frame).await
    }

    /// When [`FrameWriter::on_time`] has to be called.
    pub(super) fn due_at(&self) -> Instant {
        let silent_until = self.sent_at + SILENCE_MAX;
        let accepted_at = self.acceptance.map_or(silent_until, |(_, due_at)| due_at);
        if self.text.is_empty() { accepted_at } else { accepted_at.min(self.text_at) }
    }

    /// Sends what is due: the acceptance, the text that was collected, or that the pod works.
    pub(super) fn on_time(&mut self, clock: &dyn Clock) {
        if self.acceptance.is_some() {
            self.send_acceptance();
        } else if !self.text.is_empty() {
            self.send_text();
        } else if self.sent_at.elapsed() >= SILENCE_MAX {
            self.work(clock);
        }
    }

    /// Sends that the pod works.
    pub(super) fn work(&mut self, clock: &dyn Clock) {
        self.try_send(&Frame::Working { at: clock.now() });
    }

    /// Sends the reply, and ends the stream.
    pub(super) async fn reply(self, reply: &Reply) -> bool {
        let body = to_body(&ReplyFrame { reply });
        self.reply_body(error_of(reply), body).await
    }

    /// As [`FrameWriter::reply`], with the document of its frame.
    pub(super) async fn reply_body(mut self, cause: Option<&Cause>, body: Vec<u8>) -> bool {
        if !self.text.is_empty() {
            self.send_text();
        }
        self.reply_to.send(self.connection, cause, body).await && self.end().await
    }

    /// Sends that the request was not accepted, or is not served any longer, and ends the stream.
    pub(super) async fn refuse(self, cause: Cause) -> bool {
        let body = refusal(&cause);
        self.reply_to.send(self.connection, Some(&cause), body).await && self.end().await
    }

    /// Ends the stream.
    pub(super) async fn end(self) -> bool {
        self.reply_to.end(self.connection).await
    }

    /// Sends the acceptance if it is not sent yet.
    fn send_acceptance(&mut self) {
        if let Some((pod, _)) = self.acceptance {
            self.accept(pod.clone(), None);
        }
    }

    fn next_id(&mut self) -> FrameId {
        self.n += 1;
        FrameId { n: self.n, ..FrameId::default() }
    }

    /// Sends the text that was collected, in as many frames as it needs to fit into messages.
    fn send_text(&mut self) {
        self.send_acceptance();
        let (collected, now) = (std::mem::take(&mut self.text), Instant::now());
        self.text_at = now + TEXT_INTERVAL;
        let piece_bytes_max = (self.connection.max_payload() / ESCAPED_BYTES_MAX).max(ESCAPED_BYTES_MAX);
        let mut rest = collected.as_str();
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.floor_char_boundary(piece_bytes_max));
            (rest, self.sent_at) = (tail, now);
            let frame = Frame::Delta { id: self.next_id(), step: None, text: piece.to_owned() };
            self.try_send_text(&frame);
        }
    }

    fn try_send_text(&self, frame: &Frame) {
        if !self.reply_to.try_send(self.connection, None, to_body(frame)) {
            self.metrics.nats().count_dropped(DroppedMessage::Delta);
        }
    }

    fn try_send(&mut self, frame: &Frame) {
        self.sent_at = Instant::now();
        self.reply_to.try_send(self.connection, None, to_body(frame));
    }

    async fn send(&mut self, frame: &Frame) -> bool {
        self.sent_at = Instant::now();
        self.reply_to.send(self.connection, None, to_body(frame)).await
    }
}

/// The body of the frame of a request that was not accepted.
pub(super) fn refusal(cause: &Cause) -> Vec<u8> {
    to_body(&Frame::Refused { cause: cause.clone() })
}
