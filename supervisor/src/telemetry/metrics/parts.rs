//! The metrics of the parts of a pod, each with its own type.

use std::sync::Arc;

use super::{
    ClusterMetrics, GenerationMetrics, IdentityMetrics, McpMetrics, MembershipMetrics, Metrics, NatsMetrics,
    OutboundMetrics, StoreFailures,
};

impl Metrics {
    /// Those of requests that failed because of the database.
    #[must_use]
    pub const fn store_failures(&self) -> &StoreFailures {
        &self.store_failures
    }

    /// Those of what is applied for every pod.
    #[must_use]
    pub const fn generations(&self) -> &GenerationMetrics {
        &self.generations
    }

    /// Those of NATS.
    #[must_use]
    pub const fn nats(&self) -> &NatsMetrics {
        &self.nats
    }

    /// Those of the pod among the others of its store.
    #[must_use]
    pub const fn membership(&self) -> &MembershipMetrics {
        &self.membership
    }

    /// Those of what crosses pods.
    #[must_use]
    pub const fn cluster(&self) -> &Arc<ClusterMetrics> {
        &self.cluster
    }

    /// Those of credentials.
    #[must_use]
    pub const fn identity(&self) -> &Arc<IdentityMetrics> {
        &self.identity
    }

    /// Those of requests to services and APIs.
    #[must_use]
    pub const fn outbound(&self) -> &Arc<OutboundMetrics> {
        &self.outbound
    }

    /// Those of MCP servers.
    #[must_use]
    pub const fn mcp(&self) -> &Arc<McpMetrics> {
        &self.mcp
    }
}
