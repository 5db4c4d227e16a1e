//! Tests of what is accepted from each ingress.

use super::*;
use crate::id::{AgentId, CallKey, ContextKey, RunId, TeamId, WorkflowId};
use crate::limits::NAME_BYTES_MAX;
use crate::request::{CallOptions, CallTool, ContextChange, ContextWrite, Invoke, Maintenance, Page, Query, StartTeam};
use crate::value::Values;

struct FixedIds;
impl IdGenerator for FixedIds {
    fn next_id(&self) -> u128 {
        7
    }
}

fn envelope() -> Envelope {
    Envelope::new(Request::Query(Query::Agents))
}

#[test]
fn a_local_identity_cannot_be_expressed_in_a_message() {
    let mut value = serde_json::to_value(envelope()).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("credential".into(), serde_json::json!({"scheme": "local_user", "secret": "admin"}));
    }
    let rejected = Received::decode(value.to_string().as_bytes(), IngressKind::Http, &FixedIds, Timestamp::default());
    assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest));
}

/// Requests with what only a hop inside the platform may have, or with a name that is too long.
fn inner_requests() -> Vec<Request> {
    let agent = AgentId::new("writer").unwrap_or_else(|_| unreachable!());
    let call_key = || CallKey::new("run_1/step").ok();
    let invoke = || Invoke {
        agent: agent.clone(),
        inputs: Values::new(),
        context: Values::new(),
        version: None,
        key: None,
        options: CallOptions::default(),
    };
    let old = || Some(ContentHash::from_content(b"old"));
    let team = |version, workflow_version| {
        Request::StartTeam(StartTeam {
            team: TeamId::new("writers").unwrap_or_else(|_| unreachable!()).into(),
            workflow: WorkflowId::new("letter").unwrap_or_else(|_| unreachable!()),
            inputs: Values::new(),
            context: Values::new(),
            version,
            workflow_version,
            detach: false,
            key: None,
            options: CallOptions::default(),
        })
    };
    let long = || "x".repeat(NAME_BYTES_MAX + 1);
    let tool = |tool: &str, key| Request::CallTool(CallTool { tool: tool.into(), arguments: Values::new(), key });
    vec![
        Request::Invoke(Invoke { version: old(), ..invoke() }),
        team(old(), None),
        team(None, old()),
        Request::Invoke(Invoke { key: call_key(), ..invoke() }),
        Request::Invoke(Invoke { options: CallOptions { model: Some(long()), cost_max: None }, ..invoke() }),
        tool("native:calculator", call_key()),
        tool(&long(), None),
        Request::Query(Query::AuditEntry { id: long() }),
        Request::Query(Query::Audit { page: Page { after: Some(long()), limit: 1 } }),
    ]
}

#[test]
fn a_context_write_with_an_idempotency_key_names_the_version_that_it_replaces() {
    for (expect, key, is_accepted) in [(None, Some("k"), false), (Some(0), Some("k"), true), (None, None, true)] {
        let write = ContextWrite {
            run: RunId::new("run_1").unwrap_or_else(|_| unreachable!()),
            key: ContextKey::new("notes").unwrap_or_else(|_| unreachable!()),
            expect,
            change: ContextChange::Append("a".into()),
            ttl_ms: None,
        };
        let idempotency_key = key.and_then(|key| IdempotencyKey::new(key).ok());
        let envelope = Envelope { idempotency_key, ..Envelope::new(Request::ContextWrite(write)) };
        let bytes = serde_json::to_vec(&envelope).unwrap_or_default();
        let received = Received::decode(&bytes, IngressKind::Http, &FixedIds, Timestamp::default());
        assert_eq!(received.is_ok(), is_accepted, "{received:?}");
        if let Err(cause) = received {
            assert_eq!(cause.code, ErrorCode::InvalidRequest);
            assert!(cause.message.contains("`expect`"), "{cause}");
        }
    }
}

#[test]
fn maintenance_is_accepted_from_the_own_machine_only() {
    let envelope = Envelope::new(Request::Maintain(Maintenance::BackUpStore { to: "/tmp/copy.db".into() }));
    let bytes = serde_json::to_vec(&envelope).unwrap_or_default();
    for ingress in [IngressKind::Nats, IngressKind::Http, IngressKind::Peer] {
        let rejected = Received::decode(&bytes, ingress, &FixedIds, Timestamp::default());
        assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest), "{ingress:?}");
    }
    let user = UserId::new("admin").unwrap_or_else(|_| unreachable!());
    assert!(Received::local(user, envelope, &FixedIds, Timestamp::default()).is_ok());
}

#[test]
fn a_version_or_a_call_key_from_outside_is_rejected_and_one_from_another_pod_is_not() {
    for request in inner_requests() {
        let envelope = Envelope::new(request);
        let user = UserId::new("admin").unwrap_or_else(|_| unreachable!());
        let rejected = Received::local(user, envelope.clone(), &FixedIds, Timestamp::default());
        assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest), "{envelope:?}");
        for (credential, is_accepted) in
            [(Credential::Bearer("b".into()), false), (Credential::Delegation("d".into()), true)]
        {
            let envelope = Envelope { credential: Some(credential), ..envelope.clone() };
            let bytes = serde_json::to_vec(&envelope).unwrap_or_default();
            let received = Received::decode(&bytes, IngressKind::Peer, &FixedIds, Timestamp::default());
            assert_eq!(received.is_ok(), is_accepted, "{envelope:?}");
        }
    }
}

#[test]
fn another_version_and_a_passed_deadline_are_rejected() {
    let user = || UserId::new("admin").unwrap_or_else(|_| unreachable!());
    let other = Envelope { version: 9, ..envelope() };
    let rejected = Received::local(user(), other, &FixedIds, Timestamp::default());
    assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest));
    let expired = Envelope { deadline: Some(Deadline(Timestamp::from_micros(1))), ..envelope() };
    let rejected = Received::local(user(), expired, &FixedIds, Timestamp::from_micros(2));
    assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::TimedOut));
}
