//! The replies of executions that have succeeded, for a caller that has lost its session meanwhile: it calls again with the
//! same key, and what was paid is not executed again. They are kept for a bounded time and in bounded space, so that a
//! caller that stays away for longer may have its call executed twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::executions::Key;

/// How long a reply is kept: as long as a call lasts whose caller has set no deadline.
const KEPT_MAX: Duration = Duration::from_secs(300);
/// Bytes of all replies that are kept. One reply has at most 15 MiB.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of an entry beside its reply and the text of its key.
const ENTRY_BYTES: usize = 256;

/// The replies that are kept, the oldest of them first.
#[derive(Default)]
pub(super) struct KeptReplies {
    by_key: HashMap<Key, Arc<[u8]>>,
    order: VecDeque<(Instant, Key)>,
    bytes: usize,
}

impl KeptReplies {
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
        while self.order.front().is_some_and(|(since, _)| now.duration_since(*since) >= KEPT_MAX) {
            self.remove_oldest();
        }
    }

    /// False if nothing is kept.
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
    use greenroom_protocol::{CallKey, ContentHash};

    use super::*;

    fn key(number: usize) -> Key {
        (CallKey::new(format!("run/step_{number}")).unwrap(), ContentHash::from_content(b"request"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_kept_for_a_while() {
        let mut kept = KeptReplies::default();
        kept.insert(key(1), Arc::from(&b"one"[..]));
        tokio::time::advance(KEPT_MAX / 2).await;
        kept.insert(key(2), Arc::from(&b"two"[..]));
        assert_eq!(kept.get(&key(1)).as_deref(), Some(&b"one"[..]));
        tokio::time::advance(KEPT_MAX / 2).await;
        assert_eq!(kept.get(&key(1)), None);
        assert_eq!(kept.get(&key(2)).as_deref(), Some(&b"two"[..]));
        tokio::time::advance(KEPT_MAX / 2).await;
        assert_eq!((kept.get(&key(2)), kept.bytes, kept.order.len()), (None, 0, 0));
    }

    #[tokio::test]
    async fn the_oldest_replies_leave_their_space_to_new_ones() {
        let mut kept = KeptReplies::default();
        let reply: Arc<[u8]> = vec![0_u8; BYTES_MAX / 4].into();
        for number in 0..5 {
            kept.insert(key(number), Arc::clone(&reply));
        }
        let are_kept: Vec<bool> = (0..5).map(|number| kept.get(&key(number)).is_some()).collect();
        // Three of a quarter have space beside their keys.
        assert_eq!(are_kept, [false, false, true, true, true]);
        kept.insert(key(5), vec![0_u8; BYTES_MAX].into());
        assert!(kept.get(&key(5)).is_none() && kept.get(&key(4)).is_some(), "one that is too large removes none");
        assert!(kept.bytes <= BYTES_MAX);
    }
}
