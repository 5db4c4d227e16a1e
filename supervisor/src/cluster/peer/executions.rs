//! The executions of other pods' calls that are under way here, by the key of the call: a pod that has lost its reply, or
//! a new owner of the run, calls again with the same key and joins the execution instead of starting a second one. If it
//! has succeeded meanwhile, the caller has its reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use greenroom_protocol::{CallKey, ContentHash};

use super::stored_replies::{Key, StoredReplies};

/// The work of an execution, which ends in the bytes of its reply.
pub type Work = BoxFuture<'static, Arc<[u8]>>;

/// The executions under way, and the replies of those that have succeeded.
#[derive(Default)]
pub struct Executions {
    by_key: Mutex<HashMap<Key, WeakShared<Work>>>,
    replies: Mutex<StoredReplies>,
}

/// One caller of an execution.
pub struct Joined {
    executions: Arc<Executions>,
    key: Key,
    /// It is dropped, and with that aborted, once no caller waits for it.
    execution: Option<Shared<Work>>,
    is_repeated: bool,
}

impl Executions {
    /// Joins the execution with this key, or starts it. One that has succeeded has its reply.
    #[must_use]
    pub fn join(self: &Arc<Self>, key: CallKey, request: ContentHash, start: impl FnOnce() -> Work) -> Joined {
        let key = (key, request);
        let mut executions = self.executions();
        let running = executions.get(&key).and_then(WeakShared::upgrade).or_else(|| {
            let reply = self.replies().get(&key)?;
            Some(std::future::ready(reply).boxed().shared())
        });
        let is_repeated = running.is_some();
        let execution = running.unwrap_or_else(|| start().shared());
        if let (false, Some(weak)) = (is_repeated, execution.downgrade()) {
            executions.insert(key.clone(), weak);
        }
        Joined { executions: Arc::clone(self), key, execution: Some(execution), is_repeated }
    }

    /// Keeps the reply of an execution that has succeeded. One that has failed is repeated by a further call, so its reply
    /// is not kept. The execution itself calls this, so that no call is between the execution and its reply.
    pub fn keep(&self, key: CallKey, request: ContentHash, reply: Arc<[u8]>) {
        self.replies().insert((key, request), reply);
    }

    fn executions(&self) -> MutexGuard<'_, HashMap<Key, WeakShared<Work>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replies(&self) -> MutexGuard<'_, StoredReplies> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joined {
    /// True if another caller has started the execution, which may have ended.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// The reply of the execution.
    pub async fn wait(mut self) -> Arc<[u8]> {
        match self.execution.as_mut() {
            Some(execution) => execution.await,
            None => Arc::default(),
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // Outside of the lock: the last caller drops the work of the execution with it.
        drop(self.execution.take());
        let mut executions = self.executions.executions();
        let is_over = executions.get(&self.key).is_some_and(|execution| execution.upgrade().is_none());
        if is_over {
            executions.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    fn key(text: &str) -> (CallKey, ContentHash) {
        (CallKey::new(text).unwrap(), ContentHash::from_content(b"request"))
    }

    #[tokio::test]
    async fn calls_with_one_key_share_one_execution() {
        let (executions, started) = (Arc::new(Executions::default()), AtomicUsize::new(0));
        let (reply_tx, reply) = oneshot::channel::<Arc<[u8]>>();
        let mut reply = Some(reply);
        let mut join = |text: &str| {
            let (key, request) = key(text);
            executions.join(key, request, || {
                started.fetch_add(1, Ordering::Relaxed);
                let reply = reply.take();
                Box::pin(async move {
                    match reply {
                        Some(reply) => reply.await.unwrap_or_default(),
                        None => Arc::from(&b"other"[..]),
                    }
                })
            })
        };
        let (first, second, other) = (join("run/step"), join("run/step"), join("run/other"));
        assert_eq!((first.is_repeated, second.is_repeated, other.is_repeated), (false, true, false));
        assert_eq!(started.load(Ordering::Relaxed), 2);
        reply_tx.send(Arc::from(&b"done"[..])).unwrap();
        let (first, second) = tokio::join!(first.wait(), second.wait());
        assert_eq!((&*first, &*second, &*other.wait().await), (&b"done"[..], &b"done"[..], &b"other"[..]));
        assert!(executions.executions().is_empty());
    }

    #[tokio::test]
    async fn a_call_of_an_execution_that_has_succeeded_has_its_reply() {
        let executions = Arc::new(Executions::default());
        let (call, request) = key("run/step");
        let (storing, stored) = (Arc::clone(&executions), (call.clone(), request));
        let start = || -> Work {
            Box::pin(async move {
                let reply: Arc<[u8]> = Arc::from(&b"done"[..]);
                storing.keep(stored.0, stored.1, Arc::clone(&reply));
                reply
            })
        };
        assert_eq!(&*executions.join(call.clone(), request, start).wait().await, b"done");
        let repeated = executions.join(call.clone(), request, || panic!("it has succeeded"));
        assert!(repeated.is_repeated());
        assert_eq!(&*repeated.wait().await, b"done");
        let reply: Arc<[u8]> = Arc::from(&b"other"[..]);
        let other = ContentHash::from_content(b"another request");
        let other = executions.join(call, other, || std::future::ready(reply).boxed());
        assert_eq!((other.is_repeated(), &*other.wait().await), (false, &b"other"[..]));
        assert!(executions.executions().is_empty());
    }

    #[tokio::test]
    async fn an_execution_is_aborted_with_its_last_caller() {
        let executions = Arc::new(Executions::default());
        let (alive_tx, mut alive) = oneshot::channel::<()>();
        let (call, request) = key("run/step");
        let start = || -> Work {
            Box::pin(async move {
                let _alive = alive_tx;
                std::future::pending().await
            })
        };
        let mut first = Box::pin(executions.join(call.clone(), request, start).wait());
        assert!(futures::poll!(&mut first).is_pending());
        let second = executions.join(call.clone(), request, || panic!("it is under way"));
        drop(first);
        assert_eq!(alive.try_recv(), Err(oneshot::error::TryRecvError::Empty), "the second caller waits");
        assert_eq!(executions.executions().len(), 1);
        drop(second);
        assert_eq!(alive.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(executions.executions().is_empty());
    }
}
