//! The requests of each user within the last hour, counted exactly and for all pods together.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use greenroom_protocol::Timestamp;

use super::connection::Connection;
use super::context::{ttl_ms, unknown_reply};
use super::error::RedisError;
use super::functions::Function;
use crate::error::StoreError;
use crate::ledger::{RequestKind, USAGE_WINDOW};
use crate::rate_windows::{CountedRequest, RateWindows, RequestCounts};

/// How long an unused window is stored: longer than it counts, because the clocks of Redis and of the pods may differ.
const KEY_TTL: Duration = USAGE_WINDOW.saturating_mul(2);

/// What becomes of the requests of users while Redis is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRedisLoss {
    /// They are denied, because it is not known how many there were.
    #[default]
    Deny,
    /// Each pod counts its own, so a user may make as many requests on each of them.
    Local,
}

/// The windows of all pods.
pub(super) struct RedisRateWindows {
    pub(super) connection: Arc<Connection>,
    pub(super) on_loss: OnRedisLoss,
}

impl RedisRateWindows {
    async fn count_shared(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, RedisError> {
        let CountedRequest { user, kind, limit, of_pod: _ } = request;
        // Redis has the hash of the user, as every store. The braces put both keys of a user into one hash slot.
        let user = user.hash();
        let key = |name: &str| format!("{}:rate:{{{user}}}:{name}", self.connection.prefix());
        let index = match kind {
            RequestKind::Call => "1",
            RequestKind::Query => "2",
        };
        let args = vec![
            now.as_micros().to_string().into(),
            USAGE_WINDOW.as_micros().to_string().into(),
            ttl_ms(KEY_TTL),
            index.into(),
            limit.to_string().into(),
        ];
        let reply = self.connection.call(Function::Count, vec![key("calls"), key("queries")], args).await?;
        match reply.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["OK", calls, queries] => Ok(RequestCounts { calls: parse(calls)?, queries: parse(queries)? }),
            _ => Err(unknown_reply()),
        }
    }
}

fn parse(number: &str) -> Result<u64, RedisError> {
    number.parse().map_err(|_| unknown_reply())
}

#[async_trait]
impl RateWindows for RedisRateWindows {
    async fn count(&self, request: CountedRequest<'_>, now: Timestamp) -> Result<RequestCounts, StoreError> {
        match (self.count_shared(request, now).await, self.on_loss) {
            (Ok(counts), _) => Ok(counts),
            (Err(_), OnRedisLoss::Local) => Ok(request.of_pod),
            (Err(error), OnRedisLoss::Deny) => Err(error.into()),
        }
    }
}
