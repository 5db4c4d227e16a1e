//! The vectors of texts. A call that is charged for is reserved before it, and settled after it: at the tokens that the
//! provider has counted, at nothing if it has certainly done nothing, and as estimated otherwise.

use greenroom_actors::execution::accounting::{EmbeddingCall, OpenReservation};
use greenroom_definitions::ModelRef;
use greenroom_definitions::models::{Priced, TokenCounts};
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Tokens};
use greenroom_registry::agent_memory::embedder::Embeddings;
use greenroom_registry::agent_memory::vector::UnitVector;

use super::{MemoryHandler, MemoryRequest};
use crate::pipeline::preconditions::within_deadline;

/// Share of the time left to a request for which a call waits for the reservations of others.
const WAIT_SHARE: f64 = 0.9;
/// Tokens that a provider may add to a text.
const TEXT_TOKENS: u64 = 16;

impl MemoryHandler {
    /// The vector of one text.
    pub(super) async fn embed_one(
        &self,
        request: &MemoryRequest,
        text: &str,
        key: &CallKey,
    ) -> Result<UnitVector, Cause> {
        let embeddings = self.embed(request, &[text.to_owned()], key).await?;
        let vector = embeddings.vectors.into_iter().next();
        vector.ok_or_else(|| Cause::new(ErrorCode::Internal, "the embedder has returned no vector"))
    }

    /// The vectors of texts, at most as many as the embedder takes at once.
    ///
    /// # Errors
    /// Those of the embedder and of the budgets; [`ErrorCode::UnknownModel`] if a policy of the agent allows internal
    /// models only and the embedder is none; [`ErrorCode::TimedOut`] at the deadline.
    pub(super) async fn embed(
        &self,
        request: &MemoryRequest,
        texts: &[String],
        key: &CallKey,
    ) -> Result<Embeddings, Cause> {
        if self.embedder.is_external() && request.grant.obligations().internal_models_only {
            let id = self.embedder.id();
            let message =
                format!("the embedder {id} is external, and a policy of the agent allows internal models only");
            return Err(Cause::new(ErrorCode::UnknownModel, message));
        }
        let Some(model) = self.embedder.charged_model() else {
            let embedding = self.embedder.embed(texts, None);
            return within_deadline(request.grant.deadline(), self.clock.now(), embedding).await?;
        };
        let price = self.price(model);
        let reserved = self.reserve(request, (model, price), texts, key).await?;
        // What has an effect outside begins only while this pod has its lease.
        if let Err(cause) = self.accounting.wait_lease().await {
            reserved.release();
            return Err(cause);
        }
        let embedding = self.embedder.embed(texts, Some(reserved.reservation()?));
        // A call that is dropped at the deadline is settled as estimated.
        let embedded = within_deadline(request.grant.deadline(), self.clock.now(), embedding).await?;
        settle(reserved, &embedded, price);
        embedded
    }

    async fn reserve<'a>(
        &'a self,
        request: &'a MemoryRequest,
        (model, price): (&'a str, Option<Priced>),
        texts: &[String],
        key: &CallKey,
    ) -> Result<OpenReservation<'a>, Cause> {
        let bytes: u64 = texts.iter().map(|text| text.len() as u64 + TEXT_TOKENS).sum();
        let time_left = request.grant.deadline().remaining(self.clock.now());
        let call = EmbeddingCall {
            grant: &request.grant,
            agent: &request.owner.agent,
            model,
            price,
            meter: &request.meter,
            settlements: &request.settlements,
            wait_max: time_left.mul_f64(WAIT_SHARE),
        };
        // A token has a byte at least.
        let upper_bound = Tokens { input: bytes, output: 0 };
        self.accounting.reserve_embedding(call, upper_bound, &key.child("embed")).await
    }

    fn price(&self, model: &str) -> Option<Priced> {
        let model: ModelRef = model.parse().ok()?;
        self.definitions.catalogue().models().price(&model, None)
    }
}

fn settle(reserved: OpenReservation<'_>, embedded: &Result<Embeddings, Cause>, price: Option<Priced>) {
    match embedded {
        Ok(Embeddings { tokens: Some(tokens), .. }) => {
            let counts = TokenCounts { input: *tokens, ..TokenCounts::default() };
            reserved.settle_counts(counts, price);
        }
        Err(cause) if cause.details.get("uncharged") == Some(&Json::Bool(true)) => reserved.release(),
        Ok(Embeddings { tokens: None, .. }) | Err(_) => reserved.settle_estimated(),
    }
}
