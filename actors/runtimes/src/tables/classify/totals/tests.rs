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
        "each of their figures is the sum of other rows: lines 4 and 7",
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

#[test]
fn rows_of_statistics_are_left_out_if_their_figures_are_those_of_the_data() {
    for (text, sum, message) in [
        ("region,revenue\nNorth,100\nSouth,200\nEast,300\nAverage,200\nMedian,200\n", "600", "lines 5 and 6"),
        ("region,revenue\nNorth,100\nSouth,210\nTotal,310\nAverage,155\nMedian,155\n", "310", "lines 5 and 6"),
        ("region,n\nN,100\nS,210\nGesamtsumme,310\nMittelwert,155\nDurchschnitt,155\n", "310", "lines 5 and 6"),
        ("region,n\nN,100\nS,210\nE,50\nW,40\nAverage,100\nMean,100\nDurchschnitt,100\n", "400", "lines 6, 7 and 8"),
        ("region,n\nAverage,3\nMax,6\nN,1\nS,2\nE,6\n", "9", "lines 2 and 3"),
        ("region,n\nN,1\nS,2\nE,6\nMin,1\nMax,6\nAnzahl,3\n", "9", "lines 5, 6 and 7"),
    ] {
        assert_total(text, sum, "because they describe the rows above them");
        assert_total(text, sum, message);
    }
}

#[test]
fn a_row_of_statistics_whose_figures_are_others_is_counted_with_its_line() {
    for (text, sum, message) in [
        ("region,n\nN,1\nS,2\nE,6\nAverage,4\nMedian,2\n", "13", "their figures are not those of other rows: line 5"),
        // A maximum is no mean.
        ("size,n\nsmall,1\nlarge,4\naverage,4\nlarge,6\n", "15", "their figures are not those of other rows: line 4"),
        ("region,n\nN,1\nS,2\nE,6\nMaximum,5\n", "14", "their figures are not those of other rows: line 5"),
        (
            "metric,value\nAverage,155\nMedian,150\nMax,200\n",
            "505",
            "fewer than the rows that they describe: lines 2 and 3",
        ),
        (
            "metric,value\nAverage,155\nMedian,150\nMax,200\nTotal,620\n",
            "505",
            "fewer than the rows that they describe",
        ),
    ] {
        assert_total(text, sum, message);
    }
}

#[test]
fn a_first_row_that_is_the_sum_of_all_others_is_a_total() {
    for text in [
        "region,revenue,units\nAll regions,310,5\nNorth,100,2\nSouth,210,3\n",
        "region,revenue\nWorld,310\nNorth,100\nSouth,210\n",
        "region,revenue\nCompany,310\nNorth,100\nSouth,160\nEast,50\n",
        "region,revenue\nAll regions,310\nNorth,100\nSouth,210\n",
        "item,revenue,units\nKoko,310,5\nNorth,100,2\nSouth,110,2\nEast,50,1\nWest,50,0\n",
    ] {
        assert_total(text, "310", "each of their figures is the sum of other rows: line 2");
    }
    assert_total(
        "region,n\nNorth,1\nSouth,2\nWorld,3\n",
        "3",
        "each of their figures is the sum of other rows: line 4",
    );
    assert_total(
        "region,n\nNorth,300\nSouth,200\nEast,100\n",
        "600",
        "Line 2 equals the sum of the rows below it. It is counted, because \"North 300\" does not look like a total",
    );
    // A column that another one is computed from is no further evidence.
    let taxed = "region,net,gross\nA,300,330\nB,100,110\nC,200,220\n";
    assert_total(taxed, "600", "Line 2 equals the sum of the rows below it. It is counted");
    // Rows of zeros do not make a sum less of a coincidence.
    assert_total("region,n\nA,5\nB,3\nC,2\nD,0\nE,0\n", "10", "Line 2 equals the sum of the rows below it");
    let dated = "date,region,n\n2024-10-01,World,6\n2024-10-01,N,1\n2024-10-01,S,2\n2024-10-01,E,3\n";
    assert_total(dated, "12", "Line 2 equals the sum of the rows below it");
}

#[test]
fn a_word_for_a_total_within_a_label_is_never_silent() {
    for last in ["Net total after discount,2900", "Total incl. VAT,3720"] {
        let text = format!("region,revenue\nNorth,1000\nSouth,2100\nTotal,3100\n{last}\n");
        assert_total(&text, "3100", "they are not the sum of the rows above them: line 5");
        let text = format!("region,revenue\nNorth,1000\nSouth,2100\nTotal,3100\n{last}\nTotal due,1\n");
        assert_total(&text, "3100", "they are not the sum of the rows above them: lines 5 and 6");
    }
    for name in ["Sum Insured Ltd", "The Total Group", "Total Energies"] {
        let text = format!("customer,n\nA,100\n{name},70\nB,50\n");
        assert_total(&text, "220", "are counted, because they are not the sum of other rows: line 3");
    }
    assert_total("region,n\nN,1\nS,2\nThe total of all,3\n", "3", "repeat the rows above them: line 4");
}

#[test]
fn a_note_quotes_the_row_and_not_the_first_one_of_its_line() {
    let records = "[{\"region\": \"North\", \"rev\": 100}, {\"region\": \"South\", \"rev\": 210}, \
        {\"region\": \"Total\", \"rev\": 310}, {\"region\": \"Grand total\", \"rev\": 310}]";
    assert_total(records, "310", "line 1, such as \"Total 310\"");
}
