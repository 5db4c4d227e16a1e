//! The audit chain of one lane: its tip, which only this lane moves, and the key that signs its heads.

use std::time::Duration;

use greenroom_protocol::Timestamp;

use crate::audit::chain::ChainTip;
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::signer::Signer;

/// The chain of one lane.
pub(in crate::postgres) struct LaneChain {
    pub(in crate::postgres) chain: u64,
    pub(in crate::postgres) tip: ChainTip,
    signer: Signer,
    signed: Option<SignedHead>,
}

impl LaneChain {
    /// A chain without records.
    pub(in crate::postgres) fn new(chain: u64, signer: Signer) -> Self {
        Self { chain, tip: ChainTip::genesis(), signer, signed: None }
    }

    /// Signs the tip, unless it is signed already.
    pub(in crate::postgres) fn sign(&mut self, kind: HeadKind, now: Timestamp) -> Option<SignedHead> {
        let is_signed = |head: &SignedHead| (head.kind, head.number) == (kind, self.tip.number);
        if self.signed.as_ref().is_some_and(is_signed) {
            return None;
        }
        // A later head has a later time, also if the clock was set back.
        let after = self.signed.as_ref().map(|head| head.at.saturating_add(Duration::from_micros(1)));
        let head = self.signer.sign(kind, self.tip, after.map_or(now, |after| after.max(now)));
        self.signed = Some(head.clone());
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_is_signed_once_and_later_heads_have_later_times() {
        let now = Timestamp::from_micros(5);
        let mut chain = LaneChain::new(0, Signer::ephemeral([7; 32]));
        let first = chain.sign(HeadKind::Running, now).unwrap();
        assert_eq!(chain.sign(HeadKind::Running, now), None);
        let closed = chain.sign(HeadKind::Closed, Timestamp::from_micros(0)).unwrap();
        assert!(closed.at > first.at);
    }
}
