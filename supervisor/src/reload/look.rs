//! A look at the watched sources, and the wait until several looks agree: whoever copies a directory writes its files one
//! after the other, and a part of them is not what was meant.

use std::time::Duration;

use greenroom_protocol::ContentHash;
use tokio::time::Instant;

use super::RELOAD_MAX;

/// Time during which all looks must agree. The rest of [`RELOAD_MAX`] is for reading and compiling.
pub(super) const QUIET_MIN: Duration = Duration::from_millis(400);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Time after which a source that keeps changing is reported in the log.
const UNSETTLED_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(QUIET_MIN.as_millis() * 2 < RELOAD_MAX.as_millis());

/// The content of the watched sources and of the settings file at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprints {
    /// The hash of every definition and its name.
    pub(super) definitions: Option<ContentHash>,
    /// The hash of the policy bundle.
    pub(super) policy: Option<ContentHash>,
    /// The hash of the settings file.
    pub(super) users: Option<ContentHash>,
}

impl Fingerprints {
    /// True if no definition has changed between the two looks.
    pub(super) fn has_same_definitions(&self, other: Self) -> bool {
        self.definitions == other.definitions
    }
}

/// The wait until the looks agree.
pub(super) struct Settling {
    look: Fingerprints,
    started_at: Instant,
    changed_at: Instant,
    is_reported: bool,
}

impl Settling {
    /// Begins with a first look.
    pub(super) const fn new(look: Fingerprints, now: Instant) -> Self {
        Self { look, started_at: now, changed_at: now, is_reported: false }
    }

    /// The delay before the next look; `None` once the looks have agreed for long enough.
    pub(super) fn next_look_in(&self, now: Instant) -> Option<Duration> {
        let rest = QUIET_MIN.checked_sub(now.duration_since(self.changed_at))?;
        (!rest.is_zero()).then(|| rest.min(LOOK_INTERVAL))
    }

    /// Compares a look with the one before.
    pub(super) fn on_look(&mut self, look: Fingerprints, now: Instant) {
        if look != self.look {
            (self.look, self.changed_at) = (look, now);
        }
        if !self.is_reported && now.duration_since(self.started_at) > UNSETTLED_MAX {
            tracing::warn!("watched sources keep changing, nothing is loaded until they do not");
            self.is_reported = true;
        }
    }

    /// The last look, and the time of the last change.
    pub(super) const fn settled(self) -> (Fingerprints, Instant) {
        (self.look, self.changed_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(content: &str) -> Fingerprints {
        Fingerprints { definitions: Some(ContentHash::from_content(content.as_bytes())), ..Fingerprints::default() }
    }

    /// Takes the looks of a script, one every [`LOOK_INTERVAL`], and returns the look that settled and its time.
    fn settle(script: impl Fn(u32) -> Fingerprints) -> (Fingerprints, Duration) {
        let started_at = Instant::now();
        let mut settling = Settling::new(script(0), started_at);
        let mut now = started_at;
        for number in 1..1_000 {
            let Some(delay) = settling.next_look_in(now) else { break };
            now += delay;
            settling.on_look(script(number), now);
        }
        (settling.settled().0, now - started_at)
    }

    #[test]
    fn a_directory_that_does_not_change_settles_after_the_quiet_time() {
        assert_eq!(settle(|_| look("same")), (look("same"), QUIET_MIN));
    }

    #[test]
    fn a_directory_that_is_being_copied_settles_only_after_its_last_file() {
        // A file every 300 ms, for six seconds.
        let (settled, elapsed) = settle(|number| look(&(number.min(60) / 3).to_string()));
        assert_eq!(settled, look("20"));
        assert_eq!(elapsed, LOOK_INTERVAL * 60 + QUIET_MIN);
    }
}
