//! Vectors of length one, whose dot product is their similarity.

/// Numbers that are added up side by side, so that the compiler can use the vector instructions of every machine.
const LANES: usize = 16;
/// The shortest vector that has a direction.
const LENGTH_MIN: f32 = 1e-12;

/// A vector of length one; or of zeros, which is similar to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitVector(Vec<f32>);

impl UnitVector {
    /// Normalises numbers; `None` if one of them is not finite.
    #[must_use]
    pub fn normalized(mut numbers: Vec<f32>) -> Option<Self> {
        if !numbers.iter().all(|number| number.is_finite()) {
            return None;
        }
        // The squares of large numbers would not be finite.
        let largest = numbers.iter().fold(0.0_f32, |largest, number| largest.max(number.abs()));
        if largest < LENGTH_MIN {
            numbers.fill(0.0);
            return Some(Self(numbers));
        }
        numbers.iter_mut().for_each(|number| *number /= largest);
        let length = dot(&numbers, &numbers).sqrt();
        numbers.iter_mut().for_each(|number| *number /= length);
        Some(Self(numbers))
    }

    /// A vector that was stored, which has the length one already; `None` if a number is not finite.
    pub(crate) fn from_stored(numbers: Vec<f32>) -> Option<Self> {
        numbers.iter().all(|number| number.is_finite()).then_some(Self(numbers))
    }

    /// A vector of zeros without dimensions.
    pub(crate) const fn zero() -> Self {
        Self(Vec::new())
    }

    /// The numbers.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// The number of dimensions.
    #[must_use]
    pub const fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// The numbers as they are stored: 32-bit floats, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// Reads the numbers of a stored vector.
pub(crate) fn numbers_of_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let (numbers, _rest) = bytes.as_chunks::<4>();
    numbers.iter().map(|four| f32::from_le_bytes(*four))
}

/// Returns the similarity of two vectors of length one; none for vectors of different dimensions.
#[must_use]
pub fn similarity(one: &[f32], other: &[f32]) -> Option<f32> {
    (one.len() == other.len()).then(|| dot(one, other))
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let ((one, one_rest), (other, other_rest)) = (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (one, other) in one.iter().zip(other) {
        for ((sum, a), b) in sums.iter_mut().zip(one).zip(other) {
            *sum += a * b;
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_the_length_one_whatever_its_numbers_are() {
        for numbers in [vec![3.0, 4.0], vec![1e30; 40], vec![1e-9, -1e-9, 0.0], vec![1.0]] {
            let vector = UnitVector::normalized(numbers).unwrap();
            assert!((similarity(vector.as_slice(), vector.as_slice()).unwrap() - 1.0).abs() < 1e-5, "{vector:?}");
        }
        assert_eq!(UnitVector::normalized(vec![0.0; 3]).unwrap().as_slice(), [0.0; 3]);
        assert_eq!(UnitVector::normalized(vec![1.0, f32::NAN]), None);
        assert_eq!(UnitVector::normalized(vec![f32::INFINITY]), None);
    }

    #[test]
    fn a_stored_vector_is_read_back() {
        let vector = UnitVector::normalized((1..100_u8).map(f32::from).collect()).unwrap();
        assert_eq!(numbers_of_bytes(&vector.to_bytes()).collect::<Vec<_>>(), vector.as_slice());
        assert_eq!(UnitVector::from_stored(numbers_of_bytes(&vector.to_bytes()).collect()), Some(vector));
        assert_eq!(UnitVector::from_stored(vec![1.0, f32::NAN]), None);
    }

    #[test]
    fn vectors_of_different_lengths_are_not_compared() {
        assert_eq!(similarity(&[1.0], &[1.0, 0.0]), None);
    }

    #[test]
    fn the_product_has_the_numbers_of_every_lane_and_of_the_rest() {
        let one: Vec<f32> = (0..37_u8).map(f32::from).collect();
        let expected: f32 = one.iter().map(|number| number * 2.0).sum();
        assert!((dot(&one, &[2.0; 37]) - expected).abs() < 1e-3);
    }
}
