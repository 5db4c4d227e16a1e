//! Mutations with a fixed seed: the same seed yields the same inputs on every machine.

/// Maximum size of a mutated input in bytes: above the limits of the fuzzed parsers, small enough to be fast.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of mutations of one input.
const MUTATIONS_MAX: u64 = 8;
/// Maximum repetitions of a piece: deep nesting is what the depth limits are tested with.
const REPEATS_MAX: u64 = 1_500;

/// A pseudorandom mutator of seeds (xorshift64*).
#[derive(Debug, Clone)]
pub struct Mutator(u64);

impl Mutator {
    /// Creates a mutator that makes the same choices for the same seed.
    #[must_use]
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn number_below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.number_below(length as u64 + 1)).unwrap_or(0)
    }

    /// Chooses one of the items.
    pub fn choose<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> Option<&'a T> {
        let index = usize::try_from(self.number_below(items.len() as u64)).ok()?;
        items.get(index).copied()
    }

    /// Chooses a seed of the corpus and mutates it a few times.
    pub fn mutate(&mut self, seeds: &[&[u8]], words: &[&str]) -> Vec<u8> {
        let mut input = self.choose(seeds).unwrap_or_default().to_vec();
        for _ in 0..=self.number_below(MUTATIONS_MAX) {
            self.mutate_once(&mut input, seeds, words);
            input.truncate(INPUT_BYTES_MAX);
        }
        input
    }

    fn mutate_once(&mut self, input: &mut Vec<u8>, seeds: &[&[u8]], words: &[&str]) {
        let (from, to) = self.range(input.len());
        match self.number_below(7) {
            0 => drop(input.drain(from..to)),
            1 => {
                let bit = 1_u8 << self.number_below(8);
                if let Some(byte) = input.get_mut(from) {
                    *byte ^= bit;
                }
            }
            2 => self.repeat(input, from, to),
            3 => {
                let other = self.choose(seeds).unwrap_or_default();
                let (from_other, to_other) = self.range(other.len());
                let piece = other.get(from_other..to_other).unwrap_or_default().to_vec();
                drop(input.splice(from..to, piece));
            }
            4 => {
                let byte = u8::try_from(self.number_below(256)).unwrap_or(0);
                input.insert(from, byte);
            }
            _ => {
                let word = self.choose(words).unwrap_or_default();
                drop(input.splice(from..from, word.bytes()));
            }
        }
    }

    /// Repeats a short piece, to exceed limits of depth and length.
    fn repeat(&mut self, input: &mut Vec<u8>, from: usize, to: usize) {
        let end = to.min(from.saturating_add(16));
        let piece = input.get(from..end).unwrap_or_default().to_vec();
        let times = usize::try_from(self.number_below(REPEATS_MAX)).unwrap_or(0);
        drop(input.splice(from..from, piece.repeat(times)));
    }

    fn range(&mut self, length: usize) -> (usize, usize) {
        let (one, other) = (self.index(length), self.index(length));
        (one.min(other), one.max(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_yields_the_same_inputs() {
        let inputs = |seed| {
            let mut mutator = Mutator::from_seed(seed);
            (0..50).map(|_| mutator.mutate(&[b"a: [1]", b"${x}"], &["{{"])).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().all(|input| input.len() <= INPUT_BYTES_MAX));
    }
}
