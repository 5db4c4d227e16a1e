//! Accounting of the calls that compute vectors of memories. They belong to a request, and not to an execution: the
//! budgets above the request and those of its user and tenant apply.

use std::time::Duration;

use greenroom_definitions::models::Priced;
use greenroom_protocol::{AgentId, CallKey, Cause, PriceBasis, Tokens};
use greenroom_registry::ledger::Account;
use greenroom_rego::Grant;

use super::{Accounting, Booking, OpenReservation, grant_limits, workflow_of};
use crate::execution::invocation::UsageMeter;
use crate::pipeline::Settlements;

/// A call that computes vectors.
#[derive(Clone, Copy)]
pub struct EmbeddingCall<'a> {
    /// The grant of the request.
    pub grant: &'a Grant,
    /// The agent whose memory it is.
    pub agent: &'a AgentId,
    /// The model, as `PROVIDER.NAME`.
    pub model: &'a str,
    /// Its price.
    pub price: Option<Priced>,
    /// Receives what the call has used.
    pub meter: &'a UsageMeter,
    /// Receives the settlement, which belongs into the unit that records what the call was for.
    pub settlements: &'a Settlements,
    /// How long the call may wait for the reservations of others.
    pub wait_max: Duration,
}

impl Accounting {
    /// Reserves the worst-case cost of a call that computes vectors, as [`Accounting::reserve`] does for that of a model.
    ///
    /// # Errors
    /// As [`Accounting::reserve`].
    pub async fn reserve_embedding<'a>(
        &'a self,
        call: EmbeddingCall<'a>,
        upper_bound: Tokens,
        key: &CallKey,
    ) -> Result<OpenReservation<'a>, Cause> {
        let EmbeddingCall { grant, agent, model, price, meter, settlements, wait_max } = call;
        let account = Account {
            principal: grant.principal().id.clone(),
            agent: agent.clone(),
            workflow: workflow_of(grant),
            run: grant.root().cloned(),
            model: model.to_owned(),
            price: basis(price),
        };
        let limits = grant_limits(grant, None);
        self.reserve_call(Booking { account, limits, price, upper_bound, key, meter, settlements, wait_max }).await
    }
}

/// The basis of a price: that of the model, or that of its tier. A cost without any price is assumed to be nothing.
const fn basis(price: Option<Priced>) -> PriceBasis {
    match price {
        Some(Priced { assumed: false, .. }) => PriceBasis::Listed,
        Some(Priced { assumed: true, .. }) | None => PriceBasis::Assumed,
    }
}
