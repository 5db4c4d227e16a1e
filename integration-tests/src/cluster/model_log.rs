//! The scripted model of the harness. Its log is what the checker believes: which calls have arrived, when, and what
//! they cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::choices::Choices;
use super::history::ModelCall;
use super::moment::HarnessClock;
use crate::script_server::{ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT};

/// What a call costs at the prices of the tier that the harness uses, in millionths of a US dollar. The server charges
/// a call when it arrives, whether its client waits for the answer or not.
pub const CALL_COST_MICRO_USD: u64 = TOKENS_IN * 3 + TOKENS_OUT * 15;
/// Half of the time of most calls, and of one in so many that is slow.
const DELAY_MIN_MS: u64 = 15;
const DELAY_SPAN_MS: u64 = 75;
const DELAY_SLOW_MS: u64 = 600;
const SLOW_ONE_IN: u64 = 16;

/// The log in the order of arrival.
type Calls = Arc<Mutex<Vec<ModelCall>>>;

/// The server and its log.
pub struct ModelLog {
    server: ScriptServer,
    calls: Calls,
}

impl ModelLog {
    /// Starts the server. The seed decides how long each call takes.
    ///
    /// # Errors
    /// If no socket is available.
    pub async fn start(clock: HarnessClock, seed: u64) -> anyhow::Result<Self> {
        let calls = Calls::default();
        let log = Arc::clone(&calls);
        let server = ScriptServer::start(move |request| {
            let (key, arrived_at) = (request.key().to_owned(), clock.now());
            lock(&log).push(ModelCall { key, arrived_at, cost_micro_usd: CALL_COST_MICRO_USD });
            ServerBehavior::Slow(delay(seed, request.number as u64))
        });
        Ok(Self { server: server.await?, calls })
    }

    /// The base URL, as a value of `OPENAI_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<ModelCall> {
        lock(&self.calls).clone()
    }

    /// Number of calls so far.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.calls).len()
    }
}

/// Locks the log. A poisoned lock is still consistent: each change is one step.
fn lock(calls: &Calls) -> MutexGuard<'_, Vec<ModelCall>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Half of the time that the call with this number takes.
fn delay(seed: u64, number: u64) -> Duration {
    let mut choices = Choices::from_seed(seed.wrapping_add(number));
    Duration::from_millis(match choices.number_below(SLOW_ONE_IN) {
        0 => DELAY_SLOW_MS,
        _ => DELAY_MIN_MS + choices.number_below(DELAY_SPAN_MS),
    })
}
