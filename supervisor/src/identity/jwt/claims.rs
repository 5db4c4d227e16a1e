//! From the claims of a verified token to a principal and its rights, by the names that the configuration gives the claims.
//! An issuer vouches for the tenants and the roles that the configuration names, whatever its tokens claim.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use greenroom_protocol::{ContentHash, Json, PrincipalId, TenantId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::config::IssuerConfig;

/// Microseconds of a second.
const MICROS: i64 = 1_000_000;
/// What the id of a user begins with whose name in the token is no id.
const DERIVED_PREFIX: &str = "sub_";
/// Hex digits of the hash in such an id.
const DERIVED_CHARS: usize = 32;
/// Names in one claim.
const NAMES_MAX: usize = 256;

/// Why a token is refused. The caller learns only that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no token, lacks a claim that is needed, or has an algorithm that is not supported.
    Form,
    /// It is too large.
    TooLarge,
    /// The issuer has no key of this name.
    UnknownKey,
    /// Its signature is not that of the key, or the key has another algorithm.
    Signature,
    /// Another issuer has made it.
    Issuer,
    /// It is for another audience.
    Audience,
    /// It has ended.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// The issuer does not vouch for this tenant.
    Tenant,
    /// The user is revoked.
    Revoked,
}

impl Refusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 10] = [
        Self::Form,
        Self::TooLarge,
        Self::UnknownKey,
        Self::Signature,
        Self::Issuer,
        Self::Audience,
        Self::Expired,
        Self::NotYetValid,
        Self::Tenant,
        Self::Revoked,
    ];

    /// The reason in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::TooLarge => "too_large",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Tenant => "tenant",
            Self::Revoked => "revoked",
        }
    }
}

/// Whom a token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) id: PrincipalId,
    pub(crate) rights: Rights,
}

/// The rights of a token, as they are stored for the runs that its user starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rights {
    /// When the token was issued, in seconds since 1970; the rights of a newer token replace these.
    pub(crate) issued_at: i64,
    pub(crate) roles: Vec<String>,
    pub(crate) allowed_categories: Vec<String>,
    pub(crate) pii_access: bool,
}

/// From when until when a token is valid, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenTimes {
    pub(crate) not_before: Option<i64>,
    pub(crate) expires_at: i64,
}

/// Compares the times of a token with the clock of the pod.
pub(crate) fn check_times(times: TokenTimes, skew_secs: u32, now: Timestamp) -> Result<(), Refusal> {
    let (now, skew) = (now.as_micros().div_euclid(MICROS), i64::from(skew_secs));
    if now >= times.expires_at.saturating_add(skew) {
        return Err(Refusal::Expired);
    }
    if times.not_before.is_some_and(|from| now < from.saturating_sub(skew)) {
        return Err(Refusal::NotYetValid);
    }
    Ok(())
}

/// Reads the subject of a token whose signature, issuer and audience were verified.
pub(crate) fn read_subject(claims: &Json, config: &IssuerConfig) -> Result<(Subject, TokenTimes), Refusal> {
    let names = &config.claims;
    let times = TokenTimes {
        not_before: claims.get("nbf").map(seconds).transpose()?,
        expires_at: seconds(claims.get("exp").ok_or(Refusal::Form)?)?,
    };
    let user = find(claims, &names.user).and_then(Json::as_str).ok_or(Refusal::Form)?;
    let id = PrincipalId {
        issuer: config.name.clone(),
        tenant: read_tenant(claims, config)?,
        user: user_id(user).ok_or(Refusal::Form)?,
    };
    let mut roles = list(find(claims, &names.roles));
    roles.retain(|role| config.roles.contains(role));
    let rights = Rights {
        issued_at: claims.get("iat").map(seconds).transpose()?.unwrap_or_default(),
        roles,
        allowed_categories: list(find(claims, &names.allowed_categories)),
        pii_access: find(claims, &names.pii_access) == Some(&Json::Bool(true)),
    };
    Ok((Subject { id, rights }, times))
}

/// The issuer that a token names, before anything was verified: it chooses the keys, which then decide.
pub(crate) fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let payload = token.split('.').nth(1)?;
    let named: Named = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(named.iss)
}

fn read_tenant(claims: &Json, config: &IssuerConfig) -> Result<TenantId, Refusal> {
    let Some(name) = &config.claims.tenant else {
        return config.tenant.clone().ok_or(Refusal::Tenant);
    };
    let named = find(claims, name).and_then(Json::as_str);
    let tenant = named.and_then(|tenant| TenantId::new(tenant).ok()).ok_or(Refusal::Tenant)?;
    if config.tenants.contains(&tenant) { Ok(tenant) } else { Err(Refusal::Tenant) }
}

/// The id of a user. A name that is no id, such as an address, is replaced by its hash; so is one that looks like such a
/// replacement, so that no user can have the id of another.
fn user_id(name: &str) -> Option<UserId> {
    match UserId::new(name) {
        Ok(id) if !name.starts_with(DERIVED_PREFIX) => Some(id),
        Ok(_) | Err(_) if name.is_empty() => None,
        Ok(_) | Err(_) => {
            let digits = ContentHash::from_content(name.as_bytes()).to_string();
            UserId::new(format!("{DERIVED_PREFIX}{}", digits.get(..DERIVED_CHARS)?)).ok()
        }
    }
}

/// A claim by its name, which may be the address of a service, or by its path with dots.
fn find<'c>(claims: &'c Json, name: &str) -> Option<&'c Json> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

/// A list of texts, or one text with spaces between its words, as scopes have it.
fn list(claim: Option<&Json>) -> Vec<String> {
    match claim {
        Some(Json::String(text)) => text.split_ascii_whitespace().take(NAMES_MAX).map(str::to_owned).collect(),
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).take(NAMES_MAX).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A number of seconds, perhaps with a fraction.
fn seconds(value: &Json) -> Result<i64, Refusal> {
    if let Some(whole) = value.as_i64() {
        return Ok(whole);
    }
    let fraction = value.as_f64().filter(|number| number.is_finite()).ok_or(Refusal::Form)?;
    // A number beyond the range becomes its end.
    Ok(fraction.floor() as i64)
}
