//! Answers by key in memory.

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_protocol as protocol;
use protocol::{ContentHash, Reply, TenantId, Timestamp};

use crate::error::StoreError;
use crate::idempotency::{Idempotency, Once};
use crate::in_memory::Shared;
use crate::in_memory::runs::KeyUse;
use crate::runs::OnceKey;

/// The answers.
#[derive(Debug)]
pub(super) struct MemoryIdempotency(pub(super) Arc<Shared>);

impl KeyUse {
    fn once(&self, body: &ContentHash) -> Once {
        if self.body != *body {
            return Once::Conflict;
        }
        if let Some(run) = &self.run {
            return Once::Began(run.clone());
        }
        self.reply.clone().map_or(Once::Running, |reply| Once::Answered(Box::new(reply)))
    }
}

#[async_trait]
impl Idempotency for MemoryIdempotency {
    async fn begin(
        &self,
        tenant: &TenantId,
        key: &OnceKey,
        body: &ContentHash,
        now: Timestamp,
    ) -> Result<Once, StoreError> {
        self.0.admit()?;
        let mut runs = self.0.runs();
        let place = (tenant.clone(), key.stored());
        if let Some(used) = runs.keys.get(&place) {
            return Ok(used.once(body));
        }
        runs.keys.insert(place, KeyUse { body: *body, run: None, reply: None, at: now });
        Ok(Once::New)
    }

    async fn finish(&self, tenant: &TenantId, key: &OnceKey, reply: &Reply, now: Timestamp) -> Result<(), StoreError> {
        self.0.admit()?;
        let mut runs = self.0.runs();
        let open = runs.keys.get_mut(&(tenant.clone(), key.stored())).filter(|used| used.reply.is_none());
        if let Some(used) = open {
            used.reply = Some(reply.clone());
            used.at = now;
        }
        Ok(())
    }

    async fn abandon(&self, tenant: &TenantId, key: &OnceKey) -> Result<(), StoreError> {
        self.0.admit()?;
        let mut runs = self.0.runs();
        let place = (tenant.clone(), key.stored());
        if runs.keys.get(&place).is_some_and(|used| used.reply.is_none() && used.run.is_none()) {
            runs.keys.remove(&place);
        }
        Ok(())
    }

    async fn lookup(&self, tenant: &TenantId, key: &OnceKey, body: &ContentHash) -> Result<Once, StoreError> {
        let runs = self.0.runs();
        Ok(runs.keys.get(&(tenant.clone(), key.stored())).map_or(Once::New, |used| used.once(body)))
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.0.admit()?;
        let mut runs = self.0.runs();
        let all = runs.keys.len();
        runs.keys.retain(|_, used| used.reply.is_none() || used.at >= before);
        Ok((all - runs.keys.len()) as u64)
    }
}
