//! The background service that ends keys whose requests could not: their caller has disconnected, or the store has
//! failed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_actors::supervision::Backoff;
use greenroom_protocol::{Clock, Reply, Timestamp};
use greenroom_registry::StoreError;
use greenroom_registry::idempotency::IdempotencyStore;
use tokio::sync::mpsc;

use super::claims::{Claims, TenantKey};

/// Keys that are ended concurrently, so that their writes share commits.
const CONCURRENCY: usize = 256;
/// Attempts to end one key; after them, the next start releases it.
const ATTEMPTS_MAX: u32 = 100;
/// Delay between two attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(30) };

/// How a key ends.
pub(super) enum KeyEnd {
    /// It keeps this reply.
    Store(Box<Reply>),
    /// It is released, and a repetition of its request is executed.
    Release,
}

impl KeyEnd {
    /// Writes the end to the store. A repeated write changes nothing.
    pub(super) async fn write(
        &self,
        store: &dyn IdempotencyStore,
        (tenant, key): &TenantKey,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self {
            Self::Store(reply) => store.finish(tenant, key, reply, now).await,
            Self::Release => store.abandon(tenant, key).await,
        }
    }
}

/// A key whose end is to be written. Its claim is released when this is dropped.
pub(super) struct KeyEnding {
    pub(super) key: TenantKey,
    pub(super) end: KeyEnd,
    pub(super) claims: Arc<Claims>,
}

impl Drop for KeyEnding {
    fn drop(&mut self) {
        self.claims.release(&self.key);
    }
}

/// Ends keys in the background. Until its key is ended, a repeated request waits.
pub struct KeyReleaser {
    store: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
    endings: mpsc::Receiver<KeyEnding>,
}

impl KeyReleaser {
    pub(super) fn new(
        store: Arc<dyn IdempotencyStore>,
        clock: Arc<dyn Clock>,
        endings: mpsc::Receiver<KeyEnding>,
    ) -> Self {
        Self { store, clock, endings }
    }

    /// Ends keys until the pipeline is dropped.
    pub async fn run(&mut self) {
        let Self { store, clock, endings } = self;
        let endings = futures::stream::poll_fn(|ctx| endings.poll_recv(ctx));
        endings.for_each_concurrent(CONCURRENCY, |ending| write_end(&**store, &**clock, ending)).await;
    }
}

/// Writes the end of a key, again and again if the store fails.
async fn write_end(store: &dyn IdempotencyStore, clock: &dyn Clock, ending: KeyEnding) {
    for attempt in 1..=ATTEMPTS_MAX {
        match ending.end.write(store, &ending.key, clock.now()).await {
            Ok(()) => return,
            Err(StoreError::Closed) => break,
            Err(error) => tracing::warn!(error.message = %error, attempt, "cannot complete an idempotency key"),
        }
        tokio::time::sleep(BACKOFF.delay_before(attempt)).await;
    }
    tracing::error!("an idempotency key is released at the next start only");
}
