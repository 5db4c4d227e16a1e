//! The text of a delegation: a statement in JSON and its authentication code, each in base64 and with a dot between.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::{CallKey, ContentHash, PodId, Timestamp};
use greenroom_rego::DelegatedCall;
use serde::{Deserialize, Serialize};

use crate::cluster::keys::ClusterKey;

/// The version of the statement.
pub(super) const VERSION: u16 = 1;
/// The longest text, in bytes: a call chain has at most eight callers.
pub(super) const TOKEN_BYTES_MAX: usize = 64 * 1024;

/// What a delegation states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    /// [`VERSION`] of the issuer.
    pub(super) version: u16,
    /// The pod that has issued it.
    pub(super) issuer: PodId,
    /// The pod that it is for.
    pub(super) audience: PodId,
    /// Its id, as 32 hex digits: it is accepted once.
    pub(super) id: String,
    /// When it was issued.
    pub(super) issued_at: Timestamp,
    /// When it expires.
    pub(super) expires_at: Timestamp,
    /// The fence of the tree of runs; the root is in `call`.
    pub(super) fence: Option<u64>,
    /// The key of the call.
    pub(super) key: CallKey,
    /// The hash of the request.
    pub(super) body: ContentHash,
    /// The hash of the principal that `call` names.
    pub(super) principal: ContentHash,
    /// The call chain.
    pub(super) call: DelegatedCall,
}

/// A token that was split, and not verified yet.
pub(super) struct Unverified {
    signed: Vec<u8>,
    code: Vec<u8>,
    pub(super) statement: Statement,
}

impl Statement {
    /// The text of the delegation.
    pub(super) fn seal(&self, key: &ClusterKey) -> Result<String, serde_json::Error> {
        let signed = serde_json::to_vec(self)?;
        let code = key.tag(&signed);
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&signed), URL_SAFE_NO_PAD.encode(code)))
    }
}

impl Unverified {
    /// Splits a text; `None` if it has not the form of a delegation.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let (signed, code) = token.split_once('.').filter(|_| token.len() <= TOKEN_BYTES_MAX)?;
        let signed = URL_SAFE_NO_PAD.decode(signed).ok()?;
        let code = URL_SAFE_NO_PAD.decode(code).ok()?;
        let statement = serde_json::from_slice(&signed).ok()?;
        Some(Self { signed, code, statement })
    }

    /// The statement, if the code is that of its issuer's key.
    pub(super) fn verify(self, key: &ClusterKey) -> Option<Statement> {
        key.is_tag(&self.signed, &self.code).then_some(self.statement)
    }
}
