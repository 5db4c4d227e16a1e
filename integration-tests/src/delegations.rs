//! Delegations as any program may write them: a call of the administrator, what a pod states of it, and the code of that.

use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::request::{CallOptions, Invoke};
use greenroom_protocol::{
    AgentId, CallKey, Credential, Deadline, Envelope, Json, PodId, PrincipalId, Request, RequestId, TenantId,
    Timestamp, TraceId, UserId, Values,
};
use greenroom_rego::{Caller, DelegatedCall};
use greenroom_supervisor::cluster::delegation::body_hash;
use greenroom_supervisor::cluster::keys::{ClusterSecret, KeyLabel};
use serde_json::json;

use crate::test_pod::text;

/// How long a delegation lives.
const LIFETIME: Duration = Duration::from_secs(30);

/// The request with this number: it executes an agent.
///
/// # Errors
/// If the agent has no valid id.
pub fn request(agent: &str, number: u128) -> Result<Request> {
    Ok(Request::Invoke(Invoke {
        agent: AgentId::new(agent)?,
        inputs: text("hello"),
        context: Values::new(),
        version: None,
        key: Some(key(number)?),
        options: CallOptions::default(),
        approvals: None,
    }))
}

fn key(number: u128) -> Result<CallKey> {
    Ok(CallKey::new(format!("run_1/step_{number}"))?)
}

/// What a pod states for another one of the request with this number.
///
/// # Errors
/// If the request is no JSON.
pub fn statement(
    (issuer, audience): (&PodId, &PodId),
    (request, number): (&Request, u128),
    now: Timestamp,
) -> Result<Json> {
    let principal = PrincipalId::local(TenantId::default(), UserId::new("admin")?);
    let call = DelegatedCall {
        id: RequestId::from_u128(number),
        outermost: RequestId::from_u128(number),
        trace: TraceId::from_u128(number),
        deadline: Deadline::after(now, LIFETIME),
        received_at: now,
        principal: principal.clone(),
        is_anonymous: false,
        chain: vec![Caller::User { user: principal.user.clone() }],
        policies: Vec::new(),
        run_tenant: None,
        root: None,
        is_compensation: false,
        spending: Vec::new(),
    };
    Ok(json!({
        "version": 1,
        "issuer": issuer,
        "audience": audience,
        "id": format!("{number:032x}"),
        "issued_at": now,
        "expires_at": now.saturating_add(LIFETIME),
        "fence": null,
        "key": key(number)?,
        "body": body_hash(request)?,
        "principal": principal.hash(),
        "call": call,
    }))
}

/// The text of a delegation: a statement and its code, by the key of this issuer.
///
/// # Errors
/// If the key cannot be derived.
pub fn seal(secret: &ClusterSecret, issuer: &PodId, statement: &Json) -> Result<String> {
    let signed = statement.to_string();
    let code = secret.key(KeyLabel::Delegation, issuer.as_str().as_bytes())?.tag(signed.as_bytes());
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(signed), URL_SAFE_NO_PAD.encode(code)))
}

/// What a pod sends to another one: a request with a delegation.
///
/// # Errors
/// If the request is no JSON.
pub fn envelope(request: &Request, token: String) -> Result<Vec<u8>> {
    let credential = Some(Credential::Delegation(token));
    Ok(serde_json::to_vec(&Envelope { credential, ..Envelope::new(request.clone()) })?)
}
