//! From the rows of a database to keys and principals, the same for every driver; and the texts that their columns have.

use greenroom_protocol as protocol;
use protocol::PrincipalId;
use protocol::request::KeyScope;

use super::{ApiKeyRecord, Revocation, SubjectRecord};
use crate::columns::Columns;
use crate::error::StoreError;

/// A row of a key.
pub(crate) fn decode_key(row: &impl Columns) -> Result<ApiKeyRecord, StoreError> {
    Ok(ApiKeyRecord {
        id: row.id("id")?,
        hash: row.hash("hash")?,
        owner: row.principal()?,
        name: row.text("name")?.to_owned(),
        scope: serde_json::from_str(row.text("scope")?)?,
        created_by: principal_of(row.text("created_by")?)?,
        created_at: row.timestamp("created_at")?,
        expires_at: row.timestamp("expires_at")?,
        revocation: decode_revocation(row)?,
    })
}

/// A row of a principal.
pub(crate) fn decode_subject(row: &impl Columns) -> Result<SubjectRecord, StoreError> {
    let rights = row.optional_text("rights")?.map(str::to_owned);
    Ok(SubjectRecord { rights, revocation: decode_revocation(row)? })
}

fn decode_revocation(row: &impl Columns) -> Result<Option<Revocation>, StoreError> {
    let Some(by) = row.optional_text("revoked_by")? else { return Ok(None) };
    Ok(Some(Revocation { by: principal_of(by)?, at: row.timestamp("revoked_at")? }))
}

/// The text of a scope.
pub(crate) fn scope_text(scope: &KeyScope) -> Result<String, StoreError> {
    Ok(serde_json::to_string(scope)?)
}

/// The principal of a text `issuer/tenant/user`. No id contains a slash.
fn principal_of(text: &str) -> Result<PrincipalId, StoreError> {
    let mut parts = text.split('/');
    let (Some(issuer), Some(tenant), Some(user), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(StoreError::Codec(format!("{text:?} is not a principal")));
    };
    let invalid = |error: protocol::id::IdError| StoreError::Codec(error.to_string());
    Ok(PrincipalId {
        issuer: issuer.parse().map_err(invalid)?,
        tenant: tenant.parse().map_err(invalid)?,
        user: user.parse().map_err(invalid)?,
    })
}
