//! The call of an agent whose answer is published while its model writes it.

use std::sync::Arc;

use greenroom_definitions::plan::PlanStep;
use greenroom_definitions::{Agent, Scope};
use greenroom_protocol::{Cause, Reply};
use greenroom_registry::journal::Seq;
use tokio::sync::mpsc;

use super::{Call, EffectContext};
use crate::execution::stream::AnswerEvent;
use crate::pipeline::CallScope;
use crate::run::step_deltas::{DeltaEvent, DeltaId, StepDelta, StepDeltas};

/// Deltas of one call that wait for their publication.
const DELTAS_MAX: usize = 64;

/// Numbers the deltas of one attempt.
struct Publication<'c> {
    ctx: &'c EffectContext,
    call: &'c Call,
    seq: Seq,
    deltas: Arc<dyn StepDeltas>,
    count: u64,
}

impl Publication<'_> {
    fn publish_answer(&mut self, event: AnswerEvent) {
        self.publish(DeltaEvent::Answer(event));
    }

    /// A call without text has no reader that waits for its end.
    fn end(&mut self) {
        if self.count > 0 {
            self.publish(DeltaEvent::Ended);
        }
    }

    fn publish(&mut self, event: DeltaEvent) {
        self.count = self.count.saturating_add(1);
        let id = DeltaId { fence: self.ctx.tree.fence().0, seq: self.seq.0, n: self.count };
        let (run, step) = (self.ctx.started.run.clone(), self.call.key.clone());
        self.deltas.publish(StepDelta { run, step, id, event });
    }
}

impl EffectContext {
    /// As [`EffectContext::request_call`]; if the pod publishes deltas, also those of the call.
    pub(super) async fn request_published_call(
        &self,
        call: &Call,
        step: &PlanStep,
        values: &Scope<'_>,
        scope: CallScope,
    ) -> Result<(Reply, Option<Arc<Agent>>), Cause> {
        match (call.origin, self.env.step_deltas.clone()) {
            (Some(seq), Some(deltas)) => {
                let publication = Publication { ctx: self, call, seq, deltas, count: 0 };
                Box::pin(self.publish_call(publication, step, values, scope)).await
            }
            (None, _) | (_, None) => self.request_call(call, step, values, scope).await,
        }
    }

    async fn publish_call(
        &self,
        mut publication: Publication<'_>,
        step: &PlanStep,
        values: &Scope<'_>,
        scope: CallScope,
    ) -> Result<(Reply, Option<Arc<Agent>>), Cause> {
        let (sink, mut events) = mpsc::channel(DELTAS_MAX);
        let scope = CallScope { sink: Some(sink), ..scope };
        let mut request = std::pin::pin!(self.request_call(publication.call, step, values, scope));
        let reply = loop {
            tokio::select! {
                reply = &mut request => break reply,
                Some(event) = events.recv() => publication.publish_answer(event),
            }
        };
        while let Ok(event) = events.try_recv() {
            publication.publish_answer(event);
        }
        publication.end();
        reply
    }
}
