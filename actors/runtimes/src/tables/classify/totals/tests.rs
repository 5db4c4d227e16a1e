//! Files with totals: what is left out, what is counted, and what is reported.

use greenroom_protocol::Cause;

use crate::tables::classify::{ClassifySettings, Table, classify};
use crate::tables::dates::DateSettings;
use crate::tables::decimal::Decimal;
use crate::tables::grid::GridSource;
use crate::tables::read;

fn try_table(text: &str) -> Result<Table, Cause> {
    let grid = read::read(text.as_bytes(), None)?;
    let has_semicolons = grid.source == GridSource::Delimited { delimiter: b';' };
    let dates = DateSettings { has_semicolons, ..DateSettings::default() };
    classify(grid, &ClassifySettings { dates, ..ClassifySettings::default() })
}

/// The lines of data, the sum of the first series, and the messages.
fn read(text: &str) -> (Vec<u64>, String, Vec<String>) {
    let table = try_table(text).unwrap_or_else(|cause| panic!("{cause}: {text}"));
    let values = &table.series[0].values;
    let sum = values.iter().flatten().fold(Decimal::ZERO, |sum, value| sum.checked_add(*value).unwrap());
    let messages = table.warnings.iter().chain(&table.notes).map(|note| note.message.clone()).collect();
    (table.rows.iter().map(|row| row.line).collect(), sum.to_string(), messages)
}

#[track_caller]
fn assert_total(text: &str, sum: &str, message: &str) {
    let (_, total, messages) = read(text);
    assert_eq!(total, sum, "{text}: {messages:#?}");
    assert!(messages.iter().any(|found| found.contains(message)), "{message} is not in {messages:#?}");
}

#[test]
fn a_labelled_total_is_left_out_with_its_line() {
    assert_total(
        "region,revenue,units\nNorth,100,1\nSouth,200,2\nEast,300,3\nTotal,600,6\n",
        "600",
        "left out, because they repeat the rows above them: line 5",
    );
    assert_total("Region;Umsatz\nNord;100\nSued;250\nSumme;350\n", "350", "line 4, such as \"Summe 350\"");
    assert_total("region,revenue\nTotal,300\nNorth,100\nSouth,200\n", "300", "line 2");
    assert_total("date,region,revenue\n2024-10-01,N,100\n2024-11-01,S,200\n,Total,300\n", "300", "line 4");
    assert_total("date,region,revenue\n2024-10-01,N,100\n2024-11-01,S,200\nTotal,,300\n", "300", "line 4");
}

#[test]
fn subtotals_and_the_grand_total_are_left_out() {
    let text = "date,region,revenue\n2024-10-01,North,100\n2024-10-01,South,200\n2024-10-31,Subtotal October,300\n\
        2024-11-01,North,50\n2024-11-30,Subtotal November,50\n2024-12-31,Grand Total,350\n";
    assert_total(text, "350", "lines 4, 6 and 7");
    assert_total("region,revenue\nA,1\nB,2\nA total,3\nC,5\nD,7\nC total,12\nOverall,15\n", "15", "lines 4, 7 and 8");
}

#[test]
fn a_total_without_a_known_label_is_recognised_by_its_arithmetic() {
    assert_total(
        "date,region,revenue\n2024-10-01,N,100\n2024-11-01,S,200\n,,300\n",
        "300",
        "Rows without a label of a total are left out",
    );
    assert_total("region,revenue\nA,1\nB,2\nC,4\nKokkuvõte,7\n", "7", "line 5");
    assert_total("region,revenue\nA,1\nB,2\n,3\n", "3", "line 4");
}

#[test]
fn a_name_that_is_also_a_word_for_an_extreme_has_subtotals_like_others() {
    assert_total(
        "name,product,revenue\nAnn,A,1\nAnn,B,2\nAnn,,3\nMax,A,10\nMax,B,20\nMax,,30\n",
        "33",
        "each of their figures is the sum of rows above them: lines 4 and 7",
    );
}

#[test]
fn a_row_that_is_a_sum_by_chance_is_counted_and_reported() {
    assert_total(
        "region,revenue\nNorth,100\nSouth,200\nEast,300\n",
        "600",
        "Line 4 equals the sum of the rows above it. It is counted",
    );
    let (lines, sum, messages) = read("date,n\n2024-01-01,1\n2024-01-02,2\n2024-01-03,3\n2024-01-04,5\n");
    assert_eq!((lines.len(), sum.as_str(), messages), (4, "11", Vec::new()));
}

#[test]
fn a_total_that_is_not_the_sum_is_left_out_with_a_warning() {
    assert_total(
        "region,revenue\nNorth,100\nSouth,200\nTotal,350\n",
        "300",
        "they are not the sum of the rows above them: line 4",
    );
}

#[test]
fn a_name_with_a_word_for_a_total_is_data_unless_it_adds_up() {
    assert_total(
        "customer,revenue\nTotal Energies,100\nShell,200\nBP,50\n",
        "350",
        "are counted, because they are not the sum",
    );
    let cause = try_table("date,customer,revenue\n2024-01-01,A,1\n2024-01-02,Total Energies,soon\n2024-01-03,B,2\n")
        .unwrap_err();
    assert_eq!(cause.details["line"], 3, "{cause}");
}

#[test]
fn rows_that_are_all_labelled_are_data() {
    assert_total(
        "scope,revenue\nTotal,100\nTotal,200\nPart,50\n",
        "350",
        "2 of 3 rows, such as line 2, are labelled like totals",
    );
}

#[test]
fn a_row_without_a_date_that_is_no_total_is_rejected_with_its_line() {
    let cause = try_table("date,region,revenue\n2024-10-01,N,100\n2024-11-01,S,200\n,W,5\n").unwrap_err();
    assert_eq!(cause.details["line"], 4, "{cause}");
}
