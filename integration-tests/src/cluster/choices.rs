//! Pseudorandom choices that a seed determines, so that a printed seed repeats a schedule.

/// The choices (splitmix64).
#[derive(Debug, Clone)]
pub struct Choices(u64);

impl Choices {
    /// The choices of this seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn number_below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or_default()
    }

    /// An index of a list of this length; 0 for an empty one.
    pub fn index_below(&mut self, length: usize) -> usize {
        usize::try_from(self.number_below(length as u64)).unwrap_or_default()
    }

    /// Brings the items into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index_below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_the_same_choices_each_time_and_each_seed_has_others() {
        let numbers = |seed: u64| {
            let mut choices = Choices::from_seed(seed);
            (0..8).map(|_| choices.number_below(1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert!((0..8).all(|seed| numbers(seed) != numbers(seed + 1)));
        let mut shuffled: Vec<usize> = (0..10).collect();
        Choices::from_seed(3).shuffle(&mut shuffled);
        assert_ne!(shuffled, (0..10).collect::<Vec<_>>());
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..10).collect::<Vec<_>>());
        assert_eq!(Choices::from_seed(1).number_below(0), 0);
    }
}
