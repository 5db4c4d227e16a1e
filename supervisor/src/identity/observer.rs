//! What becomes of the credentials that a pod receives, for those who operate it. Nothing here names a tenant, a user, a key
//! or an issuer.

use super::jwt::claims::Refusal;

/// Why a text that is no token is refused. The caller learns only that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRefusal {
    /// Neither a user of the configuration nor a key has it.
    Unknown,
    /// The key is revoked.
    Revoked,
    /// The key has ended.
    Ended,
    /// The owner of the key is no user of the configuration any more.
    Owner,
}

impl KeyRefusal {
    /// Every reason.
    pub(crate) const ALL: [Self; 4] = [Self::Unknown, Self::Revoked, Self::Ended, Self::Owner];

    /// The reason in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Ended => "ended",
            Self::Owner => "owner",
        }
    }
}

/// Receives what becomes of each credential.
pub(crate) trait IdentityObserver: Send + Sync {
    /// A token was accepted; it was verified before if it is remembered.
    fn on_token_accepted(&self, is_remembered: bool);

    /// A token was refused.
    fn on_token_refused(&self, refusal: Refusal);

    /// A text that is no token was refused.
    fn on_key_refused(&self, refusal: KeyRefusal);

    /// The keys that an issuer publishes were fetched, or could not be.
    fn on_keys_fetched(&self, succeeded: bool);
}

/// Observes nothing.
pub(crate) struct Unobserved;

impl IdentityObserver for Unobserved {
    fn on_token_accepted(&self, _: bool) {}

    fn on_token_refused(&self, _: Refusal) {}

    fn on_key_refused(&self, _: KeyRefusal) {}

    fn on_keys_fetched(&self, _: bool) {}
}
