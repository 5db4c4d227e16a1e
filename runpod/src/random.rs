//! The random part of delays and of names. It is no secret, and no one gains anything by guessing it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A number of at least 0 and less than 1. The standard library seeds each hasher with numbers of the operating system.
pub(crate) fn random_fraction() -> f64 {
    let number = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(number >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
}

/// A text that no other call of this function returns, except by a chance that is negligible.
pub(crate) fn random_text() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

/// A delay between the half and the whole of this one, so that the workers of an endpoint do not all return at the same
/// moment.
pub(crate) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(random_fraction().mul_add(0.5, 0.5))
}

#[cfg(test)]
mod tests {
    use super::{jittered, random_fraction, random_text};
    use std::time::Duration;

    #[test]
    fn a_random_part_is_at_most_the_half() {
        let whole = Duration::from_millis(200);
        assert!((0..100).map(|_| jittered(whole)).all(|delay| delay >= whole / 2 && delay <= whole));
        let texts: std::collections::BTreeSet<String> = (0..100).map(|_| random_text()).collect();
        assert!(texts.len() == 100 && texts.iter().all(|text| text.len() == 32));
        assert!((0..100).map(|_| random_fraction()).all(|fraction| (0.0..1.0).contains(&fraction)));
    }
}
