//! Tests of what is accepted from each ingress.

use super::*;
use crate::conversation::StepApprovals;
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
        approvals: None,
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
        Request::Invoke(Invoke { approvals: Some(StepApprovals::default()), ..invoke() }),
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

#[test]
fn what_is_in_a_header_is_not_in_the_envelope_too() {
    let now = Timestamp::from_micros(1_000_000);
    let headers = || RequestHeaders {
        credential: Some(Credential::Bearer("b".into())),
        idempotency_key: IdempotencyKey::new("order-17").ok(),
        timeout: Some(Duration::from_secs(5)),
        deadline: Some(Deadline(Timestamp::from_micros(9_000_000))),
        request_id: RequestId::new("mine").ok(),
        ..RequestHeaders::default()
    };
    let received = Received::from_message(envelope(), headers(), IngressKind::Nats, &FixedIds, now);
    let parts = received.unwrap_or_else(|cause| panic!("{cause}")).into_parts();
    assert_eq!(parts.identity, ClaimedIdentity::Credential(Credential::Bearer("b".into())));
    assert_eq!((parts.id.as_str(), parts.is_named), ("mine", true));
    assert_eq!(parts.deadline, Deadline(Timestamp::from_micros(6_000_000)), "the earlier of both counts");
    assert!(parts.idempotency_key.is_some() && parts.body_hash.is_some());
    for both in [
        Envelope { credential: Some(Credential::Bearer("b".into())), ..envelope() },
        Envelope { idempotency_key: IdempotencyKey::new("order-17").ok(), ..envelope() },
        Envelope { timeout_ms: Some(1), ..envelope() },
        Envelope { deadline: Some(Deadline(Timestamp::from_micros(9_000_000))), ..envelope() },
        Envelope { id: RequestId::new("mine").ok(), ..envelope() },
    ] {
        let rejected = Received::from_message(both, headers(), IngressKind::Nats, &FixedIds, now);
        assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::InvalidRequest));
    }
}

#[test]
fn a_delegation_does_not_arrive_in_a_message_of_a_client() {
    let envelope = Envelope { credential: Some(Credential::Delegation("d".into())), ..envelope() };
    let headers = RequestHeaders::default();
    let rejected = Received::from_message(envelope, headers, IngressKind::Nats, &FixedIds, Timestamp::default());
    assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::Unauthenticated));
}

#[test]
fn a_relative_timeout_counts_from_the_arrival() {
    let user = || UserId::new("admin").unwrap_or_else(|_| unreachable!());
    let now = Timestamp::from_micros(1_000_000);
    for (timeout_ms, deadline, expected) in [(1_000, None, 2_000_000), (1_000, Some(1_500_000), 1_500_000)] {
        let deadline = deadline.map(|micros| Deadline(Timestamp::from_micros(micros)));
        let envelope = Envelope { timeout_ms: Some(timeout_ms), deadline, ..envelope() };
        let received = Received::local(user(), envelope, &FixedIds, now);
        assert_eq!(received.map(|received| received.deadline().0.as_micros()), Ok(expected));
    }
    let endless = Envelope { timeout_ms: Some(u64::MAX), ..envelope() };
    let received = Received::local(user(), endless, &FixedIds, now);
    assert_eq!(received.map(|received| received.deadline()), Ok(Deadline::after(now, REQUEST_TIMEOUT_MAX)));
    let none = Envelope { timeout_ms: Some(0), ..envelope() };
    let rejected = Received::local(user(), none, &FixedIds, now);
    assert_eq!(rejected.map_err(|cause| cause.code), Err(ErrorCode::TimedOut));
}
