//! Any file content ends with facts or with a cause, soon and without a panic.

use greenroom_protocol::{Cause, ErrorCode};
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use super::dates::{DateSettings, Quarter, classify_date_column, looks_like_date};
use super::decimal::Decimal;
use super::grid::Cell;
use super::{TableFacts, TableOptions, read_facts};

fn facts_of(bytes: impl AsRef<[u8]>, quarter: Option<&str>) -> Result<TableFacts, Cause> {
    let options = quarter.map(TableOptions::for_quarter).unwrap_or_default();
    read_facts("x.csv", bytes.as_ref(), &options)
}

/// Cells as files contain them, valid and invalid.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("2024-11-14".to_owned()),
        Just("31/12/2024".to_owned()),
        Just("1,234.50".to_owned()),
        Just("\"a\"\"b\"".to_owned()),
        Just("9".repeat(40)),
        Just("-".to_owned()),
        "[ -~]{0,12}",
        "\\PC{0,6}",
        any::<f64>().prop_map(|number| number.to_string()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = facts_of(bytes, None);
    }

    #[test]
    fn any_table_is_read_or_rejected(
        rows in proptest::collection::vec(proptest::collection::vec(cell(), 1..5), 1..12),
        delimiter in prop_oneof![Just(","), Just(";"), Just("\t"), Just("|")],
        quarter in prop_oneof![Just(None), Just(Some("Q4 2024"))],
    ) {
        let text: Vec<String> = rows.iter().map(|row| row.join(delimiter)).collect();
        if let Ok(facts) = facts_of(text.join("\n"), quarter) {
            let _ = crate::charts::render_all(&facts, true);
        }
    }

    #[test]
    fn any_json_is_read_or_rejected(text in "[\\[{][\\[\\]{}:,\"a-c0-9.e-]{0,60}") {
        let _ = facts_of(text, None);
    }

    #[test]
    fn any_text_is_a_date_a_figure_or_neither(text in "\\PC{0,24}") {
        let _ = (Decimal::parse(&text), Quarter::parse(&text), looks_like_date(&text));
        let cell = Cell::from_text(&text);
        let _ = classify_date_column("date", &[(1, &cell), (2, &cell)], &DateSettings::default());
    }

    #[test]
    fn a_figure_survives_its_round_trip_through_text(units in -1_000_000_000_000_i64..1_000_000_000_000, scale in 0_u32..6) {
        let text = format!("{units}e-{scale}");
        let number = Decimal::parse(&text).unwrap();
        proptest::prop_assert_eq!(Decimal::parse(&number.to_string()).unwrap().compare(number), std::cmp::Ordering::Equal);
    }
}

#[test]
fn deeply_nested_json_is_rejected_before_it_overflows_the_stack() {
    for open in ["[", "{\"a\":"] {
        let cause = facts_of(open.repeat(200_000), None).unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidData);
    }
}

#[test]
fn a_large_file_is_read_completely() {
    let mut text = String::from("date,region,product,revenue,units\n");
    let mut row = 0_u32;
    while text.len() < 2 * 1024 * 1024 {
        let (month, day) = (row % 12 + 1, row % 28 + 1);
        text.push_str(&format!(
            "2024-{month:02}-{day:02},region {},product {},{}.{:02},{}\n",
            row % 7,
            row % 11,
            row % 9_999,
            row % 100,
            row % 50
        ));
        row += 1;
    }
    let facts = facts_of(text, Some("Q4 2024")).unwrap();
    assert_eq!((facts.rows, facts.breakdowns.len()), (u64::from(row), 2));
}
