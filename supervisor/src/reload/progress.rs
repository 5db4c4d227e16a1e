//! What was loaded already, so that each change is loaded once, and loaded again only if it was not examined.

use std::time::Duration;

use greenroom_definitions::KnownNames;
use greenroom_protocol::ContentHash;

use super::look::Fingerprints;

/// Delay before a load is repeated that was not examined.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// Everything that had changed is active or rejected.
    Done,
    /// Something was not examined: its directory changed while it was read, or the guard was being restarted.
    Retry,
}

impl Round {
    /// The delay before the next round, if it does not wait for a change.
    pub(super) const fn retry_delay(self) -> Option<Duration> {
        match self {
            Self::Done => None,
            Self::Retry => Some(RETRY_DELAY),
        }
    }
}

/// What the last loads examined.
pub(super) struct Progress {
    policy: Option<ContentHash>,
    definitions: Option<ContentHash>,
    users: Option<ContentHash>,
    /// The names with which the definitions were checked.
    known_names: Option<KnownNames>,
}

impl Progress {
    /// Nothing is examined but the policy with this hash.
    pub(super) const fn new(policy: Option<ContentHash>) -> Self {
        Self { policy, definitions: None, users: None, known_names: None }
    }

    pub(super) fn needs_users(&self, look: Fingerprints) -> bool {
        look.users != self.users
    }

    pub(super) fn on_users(&mut self, look: Fingerprints) {
        self.users = look.users;
    }

    pub(super) fn needs_policy(&self, look: Fingerprints) -> bool {
        look.policy != self.policy
    }

    pub(super) fn on_policy(&mut self, look: Fingerprints) {
        self.policy = look.policy;
    }

    /// Definitions are also checked again if the active policy has other names.
    pub(super) fn needs_definitions(&self, look: Fingerprints, known_names: &KnownNames) -> bool {
        look.definitions != self.definitions || self.known_names.as_ref() != Some(known_names)
    }

    pub(super) fn on_definitions(&mut self, look: Fingerprints, known_names: KnownNames) {
        (self.definitions, self.known_names) = (look.definitions, Some(known_names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(policies: &[&str]) -> KnownNames {
        KnownNames::new(policies.iter().copied(), [], [], [])
    }

    #[test]
    fn a_policy_that_was_not_examined_is_loaded_again_and_one_that_was_is_not() {
        let hash = |content: &str| Some(ContentHash::from_content(content.as_bytes()));
        let mut progress = Progress::new(hash("first"));
        assert!(!progress.needs_policy(Fingerprints { policy: hash("first"), ..Fingerprints::default() }));
        let changed = Fingerprints { policy: hash("second"), ..Fingerprints::default() };
        // The guard was being restarted: nothing was recorded, so the next round needs the policy still.
        assert!(progress.needs_policy(changed) && progress.needs_policy(changed));
        assert!(Round::Retry.retry_delay().is_some() && Round::Done.retry_delay().is_none());
        progress.on_policy(changed);
        assert!(!progress.needs_policy(changed));
    }

    #[test]
    fn definitions_are_checked_again_when_the_policy_has_other_names() {
        let look = Fingerprints { definitions: Some(ContentHash::from_content(b"a")), ..Fingerprints::default() };
        let mut progress = Progress::new(None);
        assert!(progress.needs_definitions(look, &names(&["a"])));
        progress.on_definitions(look, names(&["a"]));
        assert!(!progress.needs_definitions(look, &names(&["a"])));
        assert!(progress.needs_definitions(look, &names(&["a", "b"])));
    }
}
