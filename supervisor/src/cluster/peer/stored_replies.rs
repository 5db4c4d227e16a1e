//! The replies of executions that have succeeded, for a caller that has lost its session meanwhile: it calls again with the
//! same key, and what was paid is not executed again. They are kept for a bounded time and in bounded space, so that a
//! caller that stays away for longer may have its call executed twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::{CallKey, ContentHash};
use tokio::time::Instant;

/// How long a reply is kept: as long as a call lasts whose caller has set no deadline.
const STORED_MAX: Duration = Duration::from_secs(300);
/// Bytes of all replies that are stored. One reply has at most 15 MiB.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an entry beside its reply and the text of its key.
const ENTRY_BYTES: usize = 256;

/// A call, and the hash of its request: another request with the same key is another execution.
pub(super) type Key = (CallKey, ContentHash);

/// The replies that are kept, the oldest of them first. No timer removes those whose time has passed: the next call or
/// reply does, so that a pod without calls may keep up to 16 MiB until then. That is a bound, and no caller gets such a reply.
#[derive(Default)]
pub(super) struct StoredReplies {
    by_key: HashMap<Key, Arc<[u8]>>,
    order: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl StoredReplies {
    /// The reply of this execution.
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<[u8]>> {
        self.expire(Instant::now());
        self.by_key.get(key).cloned()
    }

    /// Keeps a reply. The oldest ones leave their space to it.
    pub(super) fn insert(&mut self, key: Key, reply: Arc<[u8]>) {
        let now = Instant::now();
        self.expire(now);
        let size = entry_bytes(&key, &reply);
        if size > BYTES_MAX || self.by_key.contains_key(&key) {
            return;
        }
        while self.bytes > BYTES_MAX - size && self.remove_oldest() {}
        self.bytes += size;
        self.order.push_back((now, key.clone()));
        self.by_key.insert(key, reply);
    }

    fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.duration_since(*since) >= STORED_MAX) {
            self.remove_oldest();
        }
    }

    /// False if nothing is stored.
    fn remove_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.pop_front() else { return false };
        if let Some(reply) = self.by_key.remove(&key) {
            self.bytes = self.bytes.saturating_sub(entry_bytes(&key, &reply));
        }
        true
    }
}

fn entry_bytes((key, _): &Key, reply: &[u8]) -> usize {
    // The key is in the map and in the order, with one text.
    key.as_str().len() + reply.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        (CallKey::new(format!("run/step_{number}")).unwrap(), ContentHash::from_content(b"request"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_stored_for_a_while() {
        let mut stored = StoredReplies::default();
        stored.insert(key(1), Arc::from(&b"one"[..]));
        tokio::time::advance(STORED_MAX / 2).await;
        stored.insert(key(2), Arc::from(&b"two"[..]));
        assert_eq!(stored.get(&key(1)).as_deref(), Some(&b"one"[..]));
        tokio::time::advance(STORED_MAX / 2).await;
        assert_eq!(stored.get(&key(1)), None);
        assert_eq!(stored.get(&key(2)).as_deref(), Some(&b"two"[..]));
        tokio::time::advance(STORED_MAX / 2).await;
        assert_eq!((stored.get(&key(2)), stored.bytes, stored.order.len()), (None, 0, 0));
    }

    #[tokio::test]
    async fn the_oldest_replies_leave_their_space_to_new_ones() {
        let mut stored = StoredReplies::default();
        let reply: Arc<[u8]> = vec![0_u8; BYTES_MAX / 4].into();
        for number in 0..5 {
            stored.insert(key(number), Arc::clone(&reply));
        }
        let are_stored: Vec<bool> = (0..5).map(|number| stored.get(&key(number)).is_some()).collect();
        // Three of a quarter have space beside their keys.
        assert_eq!(are_stored, [false, false, true, true, true]);
        stored.insert(key(5), vec![0_u8; BYTES_MAX].into());
        assert!(stored.get(&key(5)).is_none() && stored.get(&key(4)).is_some(), "one that is too large removes none");
        assert!(stored.bytes <= BYTES_MAX);
    }
}
