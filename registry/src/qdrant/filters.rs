//! Which points an operation concerns. Every selection of memories of an owner begins with its tenant, its agent and the
//! embedder, and every selection across agents with the tenant, unless the pod itself prunes.

use ::qdrant_client::qdrant::{Condition, Filter, PointId, Range};
use greenroom_protocol as protocol;
use protocol::{PrincipalId, TenantId, Timestamp};

use super::points::{field, point_id};
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::{ForgetSelection, MemoryOwner};

/// All memories of an owner.
fn of_owner(owner: &MemoryOwner) -> Vec<Condition> {
    vec![
        Condition::matches(field::TENANT, owner.tenant.to_string()),
        Condition::matches(field::AGENT, owner.agent.to_string()),
    ]
}

/// The memories of an owner that have not expired and whose vectors an embedder has computed.
pub(super) fn live(owner: &MemoryOwner, embedder: &EmbedderId, now: Timestamp) -> Filter {
    let mut must = of_owner(owner);
    must.push(Condition::matches(field::EMBEDDER, embedder.as_str().to_owned()));
    Filter { must_not: vec![expired(now)], ..Filter::must(must) }
}

/// The parts of documents among [`live`] memories.
pub(super) fn live_of_documents(owner: &MemoryOwner, embedder: &EmbedderId, now: Timestamp) -> Filter {
    let mut filter = live(owner, embedder, now);
    filter.must_not.push(Condition::is_empty(field::SOURCE));
    filter
}

/// What executions have remembered of an owner.
pub(super) fn of_executions(owner: &MemoryOwner) -> Filter {
    let mut must = of_owner(owner);
    must.push(Condition::is_empty(field::SOURCE));
    Filter::must(must)
}

/// Everything of an owner.
pub(super) fn all_of_owner(owner: &MemoryOwner) -> Filter {
    Filter::must(of_owner(owner))
}

/// The selected memories of an owner.
pub(super) fn selected(owner: &MemoryOwner, selection: &ForgetSelection) -> Filter {
    let mut must = of_owner(owner);
    match selection {
        ForgetSelection::All => {}
        ForgetSelection::One(id) => must.push(Condition::has_id([point_id(owner, id)])),
        ForgetSelection::Source { name, before } => {
            must.push(Condition::matches(field::SOURCE, name.clone()));
            must.extend(before.map(remembered_before));
        }
    }
    Filter::must(must)
}

/// What all agents of a tenant have remembered, for one user or for all.
pub(super) fn of_tenant(tenant: &TenantId, user: Option<&PrincipalId>) -> Filter {
    let mut must = vec![Condition::matches(field::TENANT, tenant.to_string())];
    if let Some(user) = user {
        must.push(Condition::matches(field::ISSUER, user.issuer.to_string()));
        must.push(Condition::matches(field::USER, user.user.to_string()));
    }
    Filter::must(must)
}

/// What a tenant, or each, has remembered before a time, and what has expired.
pub(super) fn old(tenant: Option<&TenantId>, before: Timestamp, now: Timestamp) -> Filter {
    let of_tenant = tenant.map(|tenant| Condition::matches(field::TENANT, tenant.to_string()));
    Filter { should: vec![remembered_before(before), expired(now)], ..Filter::must(of_tenant) }
}

/// The memories whose texts reference artifacts.
pub(super) fn with_artifacts() -> Filter {
    Filter::must_not([Condition::is_empty(field::ARTIFACTS)])
}

/// Those of these points that match a filter, so that what has changed meanwhile is not deleted.
pub(super) fn among(ids: Vec<PointId>, mut filter: Filter) -> Filter {
    filter.must.push(Condition::has_id(ids));
    filter
}

fn remembered_before(time: Timestamp) -> Condition {
    Condition::range(field::AT, Range { lt: Some(to_number(time)), ..Range::default() })
}

fn expired(now: Timestamp) -> Condition {
    Condition::range(field::EXPIRES_AT, Range { lte: Some(to_number(now)), ..Range::default() })
}

/// Microseconds of times until the year 2255 are exact.
const fn to_number(time: Timestamp) -> f64 {
    time.as_micros() as f64
}

#[cfg(test)]
mod tests {
    use ::qdrant_client::qdrant::condition::ConditionOneOf;
    use ::qdrant_client::qdrant::r#match::MatchValue;
    use greenroom_protocol::{AgentId, ContentHash, UserId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    /// The value that a filter demands of a field.
    fn demanded(filter: &Filter, name: &str) -> Option<String> {
        filter.must.iter().find_map(|condition| match condition.condition_one_of.as_ref()? {
            ConditionOneOf::Field(field) if field.key == name => match field.r#match.as_ref()?.match_value.as_ref()? {
                MatchValue::Keyword(value) => Some(value.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    #[test]
    fn every_selection_of_an_owner_demands_its_tenant_and_its_agent() {
        let owner = MemoryOwner { tenant: TenantId::new("acme").unwrap(), agent: AgentId::new("writer").unwrap() };
        let embedder = EmbedderId::hashed();
        let source = ForgetSelection::Source { name: "a.md".into(), before: Some(NOW) };
        let filters = [
            live(&owner, &embedder, NOW),
            live_of_documents(&owner, &embedder, NOW),
            of_executions(&owner),
            all_of_owner(&owner),
            selected(&owner, &ForgetSelection::All),
            selected(&owner, &ForgetSelection::One(ContentHash::from_content(b"x"))),
            selected(&owner, &source),
            among(vec![], selected(&owner, &source)),
        ];
        for filter in filters {
            assert_eq!(demanded(&filter, field::TENANT).as_deref(), Some("acme"), "{filter:?}");
            assert_eq!(demanded(&filter, field::AGENT).as_deref(), Some("writer"), "{filter:?}");
            assert_eq!(filter.should, [], "an alternative would lower the wall");
        }
        let alice = PrincipalId::local(owner.tenant.clone(), UserId::new("alice").unwrap());
        for filter in
            [of_tenant(&owner.tenant, Some(&alice)), of_tenant(&owner.tenant, None), old(Some(&owner.tenant), NOW, NOW)]
        {
            assert_eq!(demanded(&filter, field::TENANT).as_deref(), Some("acme"), "{filter:?}");
        }
    }
}
