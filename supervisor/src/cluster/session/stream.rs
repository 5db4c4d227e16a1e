//! The state of one end of a session, without I/O: what may be sent, what was received, and why it has ended.
//!
//! Each end grants the other a window of bytes, and grants more once its reader has taken a part of them. So the messages
//! of a session that wait in a client of NATS are bounded, whatever the other pod sends.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::chunk::{Chunk, ChunkError, ChunkOpener, ChunkSealer};
use super::observer::{CloseReason, RefusedMessage};

/// What a message has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There are bytes to read.
    Readable,
    /// More bytes may be sent.
    Writable,
    /// The message is refused, and nothing has changed.
    Refused(RefusedMessage),
    /// The session has ended.
    Closed(CloseReason),
}

/// One end of a session.
#[derive(Debug)]
pub struct StreamState {
    sealer: ChunkSealer,
    opener: ChunkOpener,
    /// Bytes that this end may still send.
    credit: usize,
    /// Bytes that the other end may still send.
    granted: usize,
    /// Bytes that the reader has taken since the last grant.
    taken: usize,
    /// Bytes that the other end may have sent and the reader has not taken.
    window: usize,
    received: VecDeque<Bytes>,
    closed: Option<CloseReason>,
    /// The chunk that notifies the other end of the end, until it is sent.
    last: Option<Bytes>,
}

impl StreamState {
    /// An open session: this end may send `credit` bytes, and the other one `window`.
    #[must_use]
    pub const fn new(sealer: ChunkSealer, opener: ChunkOpener, credit: u32, window: u32) -> Self {
        Self {
            sealer,
            opener,
            credit: credit as usize,
            granted: window as usize,
            taken: 0,
            window: window as usize,
            received: VecDeque::new(),
            closed: None,
            last: None,
        }
    }

    /// Why the session has ended; `None` while it is open.
    #[must_use]
    pub const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// True if bytes may be sent.
    #[must_use]
    pub const fn has_credit(&self) -> bool {
        self.credit > 0 && self.closed.is_none()
    }

    /// The next chunk, with as many of these bytes as credit and `chunk_max` allow, and how many these are. `None` if
    /// nothing may be sent.
    pub fn send(&mut self, bytes: &[u8], chunk_max: usize) -> Option<(usize, Bytes)> {
        let length = bytes.len().min(self.credit).min(chunk_max);
        let content = bytes.get(..length).filter(|content| !content.is_empty() && self.closed.is_none())?;
        self.credit -= length;
        Some((length, self.sealer.data(content)))
    }

    /// Takes a message that has arrived.
    pub fn receive(&mut self, message: &Bytes) -> Change {
        if let Some(reason) = self.closed {
            return Change::Closed(reason);
        }
        match self.opener.open(message) {
            Ok(Chunk::Data(content)) if content.len() > self.granted => self.end(CloseReason::Overrun),
            Ok(Chunk::Data(content)) => {
                self.granted -= content.len();
                if !content.is_empty() {
                    self.received.push_back(content);
                }
                Change::Readable
            }
            Ok(Chunk::Credit(granted)) => {
                self.credit = self.credit.saturating_add(granted as usize);
                Change::Writable
            }
            Ok(Chunk::Close) => self.end(CloseReason::Peer),
            Err(ChunkError::Forged) => Change::Refused(RefusedMessage::Forged),
            Err(ChunkError::Replayed(_)) => Change::Refused(RefusedMessage::Replayed),
            // A release that knows more kinds of chunks has another version of the protocol.
            Err(ChunkError::Gap { .. } | ChunkError::Unreadable) => self.end(CloseReason::Gap),
        }
    }

    /// Takes at most `length` received bytes; empty if there are none. What was received before the session has ended can
    /// still be read, unless bytes between are missing.
    pub fn read(&mut self, length: usize) -> Bytes {
        let Some(first) = self.received.front_mut() else { return Bytes::new() };
        let part = first.split_to(length.min(first.len()));
        if !first.has_remaining() {
            self.received.pop_front();
        }
        self.taken += part.len();
        part
    }

    /// True if the other end is to be granted more bytes now.
    #[must_use]
    pub const fn is_grant_due(&self) -> bool {
        self.closed.is_none() && self.taken >= self.window / 4 && self.taken > 0
    }

    /// The next chunk, which grants what the reader has taken; `None` if nothing is due.
    pub fn grant(&mut self) -> Option<Bytes> {
        if !self.is_grant_due() {
            return None;
        }
        let taken = std::mem::take(&mut self.taken);
        self.granted += taken;
        Some(self.sealer.credit(u32::try_from(taken).unwrap_or(u32::MAX)))
    }

    /// Ends the session. True the first time.
    pub fn close(&mut self, reason: CloseReason) -> bool {
        let is_open = self.closed.is_none();
        if is_open {
            self.end(reason);
        }
        is_open
    }

    /// True if the other end is to be notified of the end.
    #[must_use]
    pub const fn has_last(&self) -> bool {
        self.last.is_some()
    }

    /// The chunk that notifies the other end of the end, once.
    pub const fn take_last(&mut self) -> Option<Bytes> {
        self.last.take()
    }

    fn end(&mut self, reason: CloseReason) -> Change {
        self.closed = Some(reason);
        if reason != CloseReason::Peer {
            self.last = Some(self.sealer.close());
        }
        Change::Closed(reason)
    }
}

#[cfg(test)]
mod tests;
