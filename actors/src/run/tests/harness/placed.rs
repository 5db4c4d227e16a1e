//! Calls of agents that the owner of a run places on another pod, as that receives them with a delegation.

use std::sync::Arc;

use greenroom_protocol::request::{ContextWrite, Invoke};
use greenroom_protocol::{Cause, Credential, Envelope, IngressKind, Received, Reply, Request, Timestamp};
use greenroom_registry::runs::Fence;
use greenroom_rego::{DelegationVerifier, Grant, VerifiedDelegation, testing};

use super::Harness;
use crate::pipeline::RequestPipeline;
use crate::run::handler_write_id;

/// What every token states.
struct Stated(VerifiedDelegation);

impl DelegationVerifier for Stated {
    fn verify(&self, _: &str, _: &Request, _: Timestamp) -> Result<VerifiedDelegation, Cause> {
        Ok(self.0.clone())
    }
}

impl Harness {
    /// The grant of a call that the owner with this fence has placed on this pod.
    pub(crate) async fn receive_placed(&self, (grant, invoke): &(Grant, Invoke), fence: Fence) -> Grant {
        let stated = VerifiedDelegation { call: grant.delegated_call(), fence: Some(fence.0) };
        let authenticator = self.authenticator().with_delegations(Arc::new(Stated(stated)));
        let credential = Some(Credential::Delegation("token".to_owned()));
        let envelope = Envelope { credential, ..Envelope::new(Request::Invoke(invoke.clone())) };
        let bytes = serde_json::to_vec(&envelope).unwrap();
        let received = Received::decode(&bytes, IngressKind::Peer, &*self.ids, self.clock.now()).unwrap();
        let request = authenticator.authenticate(received).await.unwrap();
        let permit = testing::permit_request(request, grant.resource().clone()).await.unwrap();
        permit.grant().clone()
    }

    /// The handler of this call writes a value on this pod.
    pub(crate) async fn write_as_handler(&self, grant: &Grant, invoke: &Invoke, write: ContextWrite) -> Reply {
        let id = handler_write_id(invoke.key.as_ref().unwrap(), &write.key);
        self.pipeline.handle(grant.issue_request(id, Request::ContextWrite(write))).await
    }
}
