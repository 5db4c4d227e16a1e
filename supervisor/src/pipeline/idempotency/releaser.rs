//! The background service that ends keys whose requests could not: their caller has disconnected, or the store has
//! failed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_actors::supervision::Backoff;
use greenroom_protocol::{Clock, Reply};
use greenroom_registry::StoreError;
use greenroom_registry::core::{CoreStore, Unit};
use greenroom_registry::idempotency::ReservedKey;
use tokio::sync::mpsc;

use super::claims::{Claims, TenantKey};

/// Keys that are ended concurrently, so that their writes share commits.
const CONCURRENCY: usize = 256;
/// Attempts to end one key; after them, the store releases it, or the next start if it has a reply.
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

/// A claimed key whose end is to be written. Its claim ends when this is dropped.
pub(super) struct KeyEnding {
    key: TenantKey,
    /// The key in the store, until its end is durable.
    pub(super) reserved: Option<ReservedKey>,
    pub(super) end: KeyEnd,
    claims: Arc<Claims>,
}

impl KeyEnding {
    /// The ending of a claim whose key is not reserved yet.
    pub(super) const fn new(key: TenantKey, claims: Arc<Claims>) -> Self {
        Self { key, reserved: None, end: KeyEnd::Release, claims }
    }

    /// Writes the end, as a part of this unit. A repeated write changes nothing.
    pub(super) async fn write(&mut self, core: &dyn CoreStore, unit: Unit<'_>) -> Result<(), StoreError> {
        if let Some(reserved) = &self.reserved {
            let unit = match &self.end {
                KeyEnd::Store(reply) => unit.finish_key(reserved, reply),
                KeyEnd::Release => unit.abandon_key(reserved),
            };
            drop(core.commit(unit).await?);
        }
        if let Some(reserved) = self.reserved.take() {
            reserved.end();
        }
        Ok(())
    }
}

impl Drop for KeyEnding {
    fn drop(&mut self) {
        match (self.reserved.take(), &self.end) {
            // A request with a final reply is not executed again.
            (Some(reserved), KeyEnd::Store(_)) => {
                reserved.end();
                tracing::error!("an idempotency key without its reply is released at the next start only");
            }
            // The store releases it.
            (reserved, _) => drop(reserved),
        }
        self.claims.release(&self.key);
    }
}

/// Ends keys in the background. Until its key is ended, a repeated request waits.
pub struct KeyReleaser {
    core: Arc<dyn CoreStore>,
    clock: Arc<dyn Clock>,
    endings: mpsc::Receiver<KeyEnding>,
}

impl KeyReleaser {
    pub(super) fn new(core: Arc<dyn CoreStore>, clock: Arc<dyn Clock>, endings: mpsc::Receiver<KeyEnding>) -> Self {
        Self { core, clock, endings }
    }

    /// Ends keys until the pipeline is dropped.
    pub async fn run(&mut self) {
        let Self { core, clock, endings } = self;
        let endings = futures::stream::poll_fn(|ctx| endings.poll_recv(ctx));
        endings.for_each_concurrent(CONCURRENCY, |ending| write_end(&**core, &**clock, ending)).await;
    }
}

/// Writes the end of a key, again and again if the store fails.
async fn write_end(core: &dyn CoreStore, clock: &dyn Clock, mut ending: KeyEnding) {
    for attempt in 1..=ATTEMPTS_MAX {
        match ending.write(core, Unit::new(clock.now())).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(error.message = %error, attempt, "cannot complete an idempotency key"),
        }
        tokio::time::sleep(BACKOFF.delay_before(attempt)).await;
    }
}
