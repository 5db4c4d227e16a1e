//! Memories as points: the vector, and a payload with everything else.

use std::collections::HashMap;

use ::qdrant_client::qdrant::point_id::PointIdOptions;
use ::qdrant_client::qdrant::value::Kind;
use ::qdrant_client::qdrant::vector_output;
use ::qdrant_client::qdrant::vectors_output::VectorsOptions;
use ::qdrant_client::qdrant::{ListValue, PointId, PointStruct, RetrievedPoint, Value, Vector, Vectors};
use greenroom_protocol as protocol;
use protocol::{ContentHash, PrincipalId, Timestamp};

use super::error::QdrantError;
use crate::agent_memory::embedder::EmbedderId;
use crate::agent_memory::{Memory, MemoryOwner, MemorySource, NewMemory};
use crate::artifacts::hash_scan::HashScanner;

/// The names of the fields of a payload.
pub(super) mod field {
    /// The tenant.
    pub(in crate::qdrant) const TENANT: &str = "tenant";
    /// The agent, by its full id.
    pub(in crate::qdrant) const AGENT: &str = "agent";
    /// What has computed the vector.
    pub(in crate::qdrant) const EMBEDDER: &str = "embedder";
    /// The id of the memory, in hex digits. That of the point is derived from it and the owner.
    pub(in crate::qdrant) const MEMORY: &str = "memory";
    /// The text.
    pub(in crate::qdrant) const TEXT: &str = "text";
    /// When it was remembered, in microseconds since 1970-01-01, UTC.
    pub(in crate::qdrant) const AT: &str = "at";
    /// When it expires.
    pub(in crate::qdrant) const EXPIRES_AT: &str = "expires_at";
    /// Who vouches for the user.
    pub(in crate::qdrant) const ISSUER: &str = "issuer";
    /// The user for whom it was remembered.
    pub(in crate::qdrant) const USER: &str = "user";
    /// The document.
    pub(in crate::qdrant) const SOURCE: &str = "source";
    /// The first line of the text in the document.
    pub(in crate::qdrant) const FIRST_LINE: &str = "first_line";
    /// The last line.
    pub(in crate::qdrant) const LAST_LINE: &str = "last_line";
    /// The hashes in the text that may be those of artifacts.
    pub(in crate::qdrant) const ARTIFACTS: &str = "artifacts";
}

/// The fields of a point.
pub(super) type Payload = HashMap<String, Value>;

/// The id of the point of a memory. It has the owner, so that no memory of another owner, whatever its id is, replaces this
/// one.
pub(super) fn point_id(owner: &MemoryOwner, id: &ContentHash) -> PointId {
    let mut bytes = Vec::new();
    for part in [owner.tenant.as_str().as_bytes(), owner.agent.as_str().as_bytes(), id.as_bytes()] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    let digits = ContentHash::from_content(&bytes).to_string();
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let uuid = format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
    PointId { point_id_options: Some(PointIdOptions::Uuid(uuid)) }
}

/// The point of a memory.
pub(super) fn to_point(owner: &MemoryOwner, embedder: &EmbedderId, new: &NewMemory) -> PointStruct {
    let memory = &new.memory;
    let mut payload = Payload::from([
        (field::TENANT.to_owned(), text(owner.tenant.as_str())),
        (field::AGENT.to_owned(), text(owner.agent.as_str())),
        (field::EMBEDDER.to_owned(), text(embedder.as_str())),
        (field::MEMORY.to_owned(), text(&memory.id.to_string())),
        (field::TEXT.to_owned(), text(&memory.text)),
        (field::AT.to_owned(), number(memory.at.as_micros())),
    ]);
    let mut add = |name: &str, value: Value| payload.insert(name.to_owned(), value);
    if let Some(expires_at) = memory.expires_at {
        add(field::EXPIRES_AT, number(expires_at.as_micros()));
    }
    if let Some(user) = &memory.user {
        add(field::ISSUER, text(user.issuer.as_str()));
        add(field::USER, text(user.user.as_str()));
    }
    if let Some(MemorySource { name, first_line, last_line }) = &memory.source {
        add(field::SOURCE, text(name));
        add(field::FIRST_LINE, number(i64::from(*first_line)));
        add(field::LAST_LINE, number(i64::from(*last_line)));
    }
    let mut scanner = HashScanner::default();
    scanner.scan(memory.text.as_bytes());
    let artifacts: Vec<Value> = scanner.into_hashes().iter().map(|hash| text(&hash.to_string())).collect();
    if !artifacts.is_empty() {
        add(field::ARTIFACTS, Value { kind: Some(Kind::ListValue(ListValue { values: artifacts })) });
    }
    let vectors = Vectors::from(Vector::from(new.vector.as_slice()));
    PointStruct { id: Some(point_id(owner, &memory.id)), payload, vectors: Some(vectors) }
}

/// The memory of a payload, which must belong to this owner.
///
/// # Errors
/// [`QdrantError::Failed`] if a field is missing or has another type, or if it belongs to another owner.
pub(super) fn from_payload(owner: &MemoryOwner, payload: &Payload) -> Result<Memory, QdrantError> {
    check_owner(owner, payload)?;
    let user = match (optional_text(payload, field::ISSUER), optional_text(payload, field::USER)) {
        (Some(issuer), Some(user)) => Some(PrincipalId {
            issuer: issuer.parse().map_err(|_| invalid(field::ISSUER))?,
            tenant: owner.tenant.clone(),
            user: user.parse().map_err(|_| invalid(field::USER))?,
        }),
        (Some(_), None) | (None, Some(_) | None) => None,
    };
    let line =
        |name: &str| optional_number(payload, name).and_then(|line| u32::try_from(line).ok()).unwrap_or_default();
    let source = optional_text(payload, field::SOURCE).map(|name| MemorySource {
        name: name.to_owned(),
        first_line: line(field::FIRST_LINE),
        last_line: line(field::LAST_LINE),
    });
    Ok(Memory {
        id: read_id(payload)?,
        text: read_text(payload, field::TEXT)?.to_owned(),
        at: Timestamp::from_micros(optional_number(payload, field::AT).ok_or_else(|| invalid(field::AT))?),
        expires_at: optional_number(payload, field::EXPIRES_AT).map(Timestamp::from_micros),
        user,
        source,
    })
}

/// Checks that a payload belongs to this owner.
///
/// # Errors
/// [`QdrantError::Failed`] if it does not.
pub(super) fn check_owner(owner: &MemoryOwner, payload: &Payload) -> Result<(), QdrantError> {
    if read_text(payload, field::TENANT)? == owner.tenant.as_str()
        && read_text(payload, field::AGENT)? == owner.agent.as_str()
    {
        return Ok(());
    }
    Err(QdrantError::Failed("it has replied with a memory of another owner".to_owned()))
}

/// The id of the memory of a payload.
///
/// # Errors
/// [`QdrantError::Failed`] if it has none.
pub(super) fn read_id(payload: &Payload) -> Result<ContentHash, QdrantError> {
    read_text(payload, field::MEMORY)?.parse().map_err(|_| invalid(field::MEMORY))
}

/// The numbers of the vector of a point, if it has one. The conversions of the client panic at some replies.
pub(super) fn numbers_of(point: &RetrievedPoint) -> Option<Vec<f32>> {
    match point.vectors.as_ref()?.vectors_options.as_ref()? {
        VectorsOptions::Vector(output) => match output.vector.as_ref()? {
            vector_output::Vector::Dense(dense) => Some(dense.data.clone()),
            vector_output::Vector::Sparse(_) | vector_output::Vector::MultiDense(_) => None,
        },
        VectorsOptions::Vectors(_) => None,
    }
}

fn invalid(name: &str) -> QdrantError {
    QdrantError::Failed(format!("the field {name} of a point cannot be read"))
}

/// The hashes of artifacts in a payload.
pub(super) fn artifacts_of(payload: &Payload) -> impl Iterator<Item = ContentHash> + '_ {
    let values = match payload.get(field::ARTIFACTS).and_then(|value| value.kind.as_ref()) {
        Some(Kind::ListValue(list)) => list.values.as_slice(),
        _ => &[],
    };
    values.iter().filter_map(|value| text_of(value)?.parse().ok())
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

const fn number(number: i64) -> Value {
    Value { kind: Some(Kind::IntegerValue(number)) }
}

fn text_of(value: &Value) -> Option<&str> {
    match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn optional_text<'p>(payload: &'p Payload, name: &str) -> Option<&'p str> {
    text_of(payload.get(name)?)
}

fn optional_number(payload: &Payload, name: &str) -> Option<i64> {
    match payload.get(name)?.kind.as_ref()? {
        Kind::IntegerValue(number) => Some(*number),
        _ => None,
    }
}

fn read_text<'p>(payload: &'p Payload, name: &str) -> Result<&'p str, QdrantError> {
    optional_text(payload, name).ok_or_else(|| QdrantError::Failed(format!("a point has no field {name}")))
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{AgentId, TenantId, UserId};

    use super::*;
    use crate::agent_memory::embedder::hashed_vector;

    fn owner(tenant: &str, agent: &str) -> MemoryOwner {
        MemoryOwner { tenant: TenantId::new(tenant).unwrap(), agent: AgentId::new(agent).unwrap() }
    }

    fn memory(text: &str) -> Memory {
        Memory {
            id: ContentHash::from_content(text.as_bytes()),
            text: text.to_owned(),
            at: Timestamp::from_micros(1_700_000_000_000_001),
            expires_at: Some(Timestamp::from_micros(1_800_000_000_000_001)),
            user: Some(PrincipalId::local(TenantId::new("acme").unwrap(), UserId::new("alice").unwrap())),
            source: Some(MemorySource { name: "a/b.md".to_owned(), first_line: 3, last_line: 9 }),
        }
    }

    fn payload_of(memory: &Memory) -> Payload {
        let new = NewMemory { memory: memory.clone(), vector: hashed_vector(&memory.text) };
        to_point(&owner("acme", "writer"), &EmbedderId::hashed(), &new).payload
    }

    #[test]
    fn a_memory_is_read_back_from_its_point() {
        let full = memory("a text");
        let bare = Memory { expires_at: None, user: None, source: None, ..memory("another") };
        for memory in [full, bare] {
            assert_eq!(from_payload(&owner("acme", "writer"), &payload_of(&memory)), Ok(memory));
        }
    }

    #[test]
    fn a_point_of_another_owner_and_one_without_a_field_are_errors() {
        let payload = payload_of(&memory("a secret of acme"));
        for other in [owner("other", "writer"), owner("acme", "reader")] {
            let error = from_payload(&other, &payload).unwrap_err();
            assert!(error.to_string().contains("another owner") && !error.to_string().contains("secret"), "{error}");
        }
        for name in [field::TENANT, field::AGENT, field::MEMORY, field::TEXT, field::AT] {
            let mut lacking = payload.clone();
            lacking.remove(name);
            from_payload(&owner("acme", "writer"), &lacking).unwrap_err();
        }
    }

    #[test]
    fn the_same_memory_of_two_owners_is_two_points() {
        let id = ContentHash::from_content(b"same");
        let ids = [("acme", "writer"), ("acmew", "riter"), ("acme", "reader"), ("other", "writer")]
            .map(|(tenant, agent)| format!("{:?}", point_id(&owner(tenant, agent), &id)));
        assert_eq!(std::collections::BTreeSet::from(ids.clone()).len(), 4, "{ids:?}");
    }

    #[test]
    fn the_hashes_in_a_text_are_found_again() {
        let hash = ContentHash::from_content(b"artifact");
        let payload = payload_of(&memory(&format!("see {hash} and more")));
        assert_eq!(artifacts_of(&payload).collect::<Vec<_>>(), [hash]);
        assert_eq!(artifacts_of(&payload_of(&memory("nothing"))).count(), 0);
    }
}
