//! The parts that several documents share.

use std::fmt::Debug;
use std::str::FromStr;

use greenroom_protocol::reply::Usage;
use greenroom_protocol::{
    ArtifactRef, Cause, ContentHash, ErrorCode, Metadata, MicroUsd, PriceBasis, Reply, Status, Timestamp, Tokens,
    Values, WrittenVersion,
};
use serde_json::json;

pub(crate) fn id<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("the text is an id")
}

/// 2025-01-02T03:04:05.678901Z and some seconds.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_735_787_045_678_901 + second * 1_000_000)
}

pub(crate) fn hash() -> ContentHash {
    ContentHash::from_content(b"content")
}

pub(crate) fn values() -> Values {
    Values::from([("quarter".to_owned(), json!("Q4 2024")), ("rows".to_owned(), json!([1, 2.5, null, true]))])
}

pub(crate) fn artifact() -> ArtifactRef {
    ArtifactRef { hash: hash(), bytes: 7, media_type: "text/csv".into(), name: "sales.csv".into() }
}

pub(crate) fn usage() -> Usage {
    Usage {
        tokens: Tokens { input: 120, output: 30 },
        cost: MicroUsd(4_500),
        estimated: true,
        price: PriceBasis::Assumed,
        model: Some("anthropic.claude-sonnet".into()),
        models: vec!["offline.extractive".into(), "anthropic.claude-sonnet".into()],
        disclaimer: Some("(offline extract, no language model)".into()),
        agents: vec![id("executive_summary_agent_001")],
        members: Some(1),
        steps: 1,
        decisions: 2,
        denials: 1,
        revisions: vec!["r1".into()],
    }
}

pub(crate) fn denial() -> Cause {
    let rules = json!({"reasons": [{"code": "access_allowed", "message": "the role `guest` may not do this"}]});
    Cause::new(ErrorCode::PolicyDenied, "policy does not allow it").with_details(rules)
}

pub(crate) fn reply() -> Reply {
    let metadata = Metadata {
        agents_involved: 1,
        agents: vec![id("executive_summary_agent_001")],
        workflow_steps: 5,
        duration_ms: 1_234,
        tokens_used: Tokens { input: 120, output: 30 },
        cost: MicroUsd(4_500),
        estimated: false,
        price: PriceBasis::Listed,
        model: Some("offline.extractive".into()),
        models: vec!["offline.extractive".into()],
        disclaimer: Some("(offline extract, no language model)".into()),
        policy_checks: vec!["access_allowed".into(), "rate_limit_ok".into()],
        policy_decisions: 6,
        policy_denials: 1,
        policy_revisions: vec!["r1".into()],
        trace_id: Some(id("4bf92f3577b34da6a3ce929d0e0e4736")),
        pod: Some(id("pod-a")),
    };
    Reply {
        id: "run_01".into(),
        status: Status::Success,
        outputs: values(),
        error: None,
        metadata,
        protocol_version: WrittenVersion::OWN,
    }
}
