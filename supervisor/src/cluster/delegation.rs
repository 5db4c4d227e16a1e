//! Delegations: what a pod hands another one instead of the caller's credential, when it sends it a request.
//!
//! A delegation is a statement with an authentication code, by a key that HKDF derives from the secret of the cluster for
//! each issuing pod. Asymmetric keys would need certificates, and would prove no more: whoever has the secret of the
//! cluster could certify a key of any name. So a pod with the secret can issue in the name of another one, and nothing
//! else can issue at all.
//!
//! It is bound to one request and one moment: the issuing pod and the one that it is for, the hash of the request, the key
//! of the call, the root of the tree of runs with the fence of its owner, and a lifetime of at most a minute. It is
//! accepted once. The rights of the principal are not in it.

mod clock_offsets;
pub mod issuer;
pub mod refusal;
pub mod token;
pub mod verifier;

use greenroom_protocol::{Cause, ContentHash, ErrorCode, Request};

/// The hash of a request that is delegated. Both pods compute it over what is read from the wire: a number may have more
/// digits in memory than its text.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if the request is no JSON.
pub fn body_hash(request: &Request) -> Result<ContentHash, Cause> {
    let invalid = |error: serde_json::Error| Cause::new(ErrorCode::InvalidRequest, error.to_string());
    serde_json::to_vec(request).map(|body| ContentHash::from_content(&body)).map_err(invalid)
}

/// The request as it is after it has crossed the wire, and its hash.
///
/// # Errors
/// As [`body_hash`].
pub fn normalize(request: &Request) -> Result<(Request, ContentHash), Cause> {
    let invalid = |error: serde_json::Error| Cause::new(ErrorCode::InvalidRequest, error.to_string());
    let body = serde_json::to_vec(request).map_err(invalid)?;
    let read: Request = serde_json::from_slice(&body).map_err(invalid)?;
    let hash = body_hash(&read)?;
    Ok((read, hash))
}

#[cfg(test)]
mod tests;
