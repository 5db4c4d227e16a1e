//! The candidates of a scan against exact similarities, and rows that are replaced and dropped.

use proptest::prelude::*;

use super::*;
use crate::agent_memory::vector::similarity;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn id(number: usize) -> ContentHash {
    ContentHash::from_content(&number.to_be_bytes())
}

fn row(number: usize, vector: &UnitVector) -> VectorRow {
    VectorRow { id: id(number), version: 1, at: NOW, expires_at: None, vector: vector.to_bytes() }
}

fn matrix(vectors: &[UnitVector]) -> Matrix {
    let mut matrix = Matrix::new(vectors[0].dimensions());
    for (number, vector) in vectors.iter().enumerate() {
        matrix.upsert(&row(number, vector));
    }
    matrix
}

fn scan(vector: UnitVector, limit: usize, min_similarity: f32) -> Scan {
    Scan { vector, limit, min_similarity, now: NOW }
}

fn unit(numbers: &[f32]) -> UnitVector {
    UnitVector::normalized(numbers.to_vec()).unwrap()
}

fn vectors(dimensions: usize, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<UnitVector>> {
    let vector = prop::collection::vec(-1.0_f32..1.0, dimensions)
        .prop_filter_map("a vector has a direction", UnitVector::normalized);
    prop::collection::vec(vector, count)
}

proptest! {
    #[test]
    fn the_exact_matches_are_among_the_candidates(
        (query, rows) in (1_usize..80).prop_flat_map(|dimensions| (vectors(dimensions, 1..2), vectors(dimensions, 1..60))),
        limit in 1_usize..12,
        min_similarity in -0.5_f32..0.9,
    ) {
        let query = query[0].clone();
        let mut exact: Vec<(f32, ContentHash)> = rows
            .iter()
            .enumerate()
            .map(|(number, row)| (similarity(query.as_slice(), row.as_slice()).unwrap(), id(number)))
            .filter(|(similarity, _)| *similarity >= min_similarity)
            .collect();
        // All are of one time, and then the id decides among equals.
        exact.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| other.1.cmp(&one.1)));
        exact.truncate(limit);
        let candidates = matrix(&rows).candidates(&scan(query, limit, min_similarity));
        for (similarity, id) in exact {
            prop_assert!(candidates.contains(&id), "{similarity} is missing");
        }
    }
}

#[test]
fn few_rows_are_candidates_beside_the_matches() {
    let rows: Vec<UnitVector> =
        (0..500).map(|number| unit(&[(number as f32).sin(), (number as f32).cos(), 0.3])).collect();
    let found = matrix(&rows).candidates(&scan(rows[7].clone(), 5, 0.25));
    assert!((5..20).contains(&found.len()), "{}", found.len());
    assert!(found.contains(&id(7)));
}

#[test]
fn a_row_that_was_replaced_is_found_by_its_new_vector_and_a_dropped_one_never() {
    let mut matrix = matrix(&[unit(&[1.0, 0.0]), unit(&[0.0, 1.0]), unit(&[-1.0, 0.0])]);
    matrix.upsert(&row(0, &unit(&[0.0, 1.0])));
    let east = || scan(unit(&[1.0, 0.0]), 5, 0.5);
    let north = || scan(unit(&[0.0, 1.0]), 5, 0.5);
    assert_eq!(matrix.candidates(&east()), []);
    assert_eq!(matrix.candidates(&north()), [id(0), id(1)]);
    matrix.retain(&HashSet::from([id(1), id(2)]));
    assert_eq!(matrix.candidates(&north()), [id(1)]);
    assert_eq!(matrix.candidates(&scan(unit(&[-1.0, 0.0]), 5, 0.5)), [id(2)], "a row that was moved");
    matrix.upsert(&row(2, &unit(&[1.0, 0.0])));
    assert_eq!(matrix.candidates(&east()), [id(2)]);
    assert_eq!(matrix.size(), 4);
}

#[test]
fn a_row_that_is_removed_leaves_the_others_with_their_vectors() {
    let vectors: Vec<UnitVector> = (0..5).map(|number| unit(&[(number as f32).cos(), (number as f32).sin()])).collect();
    for removed in 0..5 {
        let mut matrix = matrix(&vectors);
        matrix.remove(&id(removed));
        matrix.remove(&id(removed));
        assert_eq!(matrix.row_count(), 4);
        for (number, vector) in vectors.iter().enumerate() {
            let found = matrix.candidates(&scan(vector.clone(), 1, 0.999));
            assert_eq!(found.contains(&id(number)), number != removed, "{number} without {removed}: {found:?}");
        }
        matrix.upsert(&row(removed, &vectors[removed]));
        assert_eq!(matrix.candidates(&scan(vectors[removed].clone(), 1, 0.999)), [id(removed)]);
    }
    Matrix::new(2).remove(&id(0));
}

#[test]
fn a_matrix_grows_by_a_part_of_its_size_and_may_be_stale_by_a_bounded_number_of_rows() {
    let mut matrix = Matrix::new(2);
    matrix.reserve_bytes(Matrix::bytes_of(1_000, 2));
    let vector = unit(&[1.0, 0.0]);
    for number in 0..1_001 {
        matrix.upsert(&row(number, &vector));
    }
    assert!(matrix.bytes() < Matrix::bytes_of(1_200, 2), "{}", matrix.bytes());
    matrix.set_compared();
    for number in 0..6_098 {
        matrix.upsert(&row(number, &vector));
    }
    assert!(!matrix.needs_comparison());
    matrix.upsert(&row(9_999, &vector));
    assert!(matrix.needs_comparison());
}

#[test]
fn rows_that_have_expired_and_rows_of_other_dimensions_do_not_match() {
    let mut matrix = Matrix::new(2);
    matrix.upsert(&VectorRow { expires_at: Some(NOW), ..row(0, &unit(&[1.0, 0.0])) });
    matrix.upsert(&row(1, &unit(&[1.0])));
    assert_eq!(matrix.candidates(&scan(unit(&[1.0, 0.0]), 5, -1.0)), []);
    assert_eq!(matrix.candidates(&scan(unit(&[1.0]), 5, -1.0)), []);
    assert_eq!(matrix.candidates(&scan(unit(&[1.0, 0.0]), 0, -1.0)), []);
}

#[test]
fn the_score_of_the_same_vector_does_not_overflow() {
    for dimensions in [1, 256, 4096] {
        let vector = unit(&vec![1.0; dimensions]);
        let numbers: Vec<i16> = vector.as_slice().iter().copied().map(quantize).collect();
        assert!(product(&numbers, &numbers) > to_score(0.99), "{dimensions}");
    }
}
