//! Columns of dates, as files have them.

use super::{
    DateOrder, DateSettings, DateVerdict, FiscalYear, NamedBy, classify_date_column, looks_like_date, order_of_file,
};
use crate::tables::grid::Cell;

fn classify_cells(name: &str, cells: &[Cell], settings: DateSettings) -> DateVerdict {
    let cells: Vec<(u64, &Cell)> = (2..).zip(cells).collect();
    classify_date_column(name, &cells, &settings)
}

fn classify(name: &str, texts: &[&str]) -> DateVerdict {
    let cells: Vec<Cell> = texts.iter().map(|text| Cell::from_text(text)).collect();
    classify_cells(name, &cells, DateSettings::default())
}

/// The dates and the notes of a column that has dates.
fn dates(verdict: DateVerdict) -> (Vec<String>, String) {
    let DateVerdict::Dates { values, notes, .. } = verdict else { panic!("{verdict:?}") };
    let date = |value: Option<jiff::civil::Date>| value.map_or_else(|| "none".to_owned(), |date| date.to_string());
    let notes: Vec<String> = notes.into_iter().map(|note| note.message).collect();
    (values.into_iter().map(date).collect(), notes.join("\n"))
}

fn warning(verdict: DateVerdict) -> String {
    let DateVerdict::Undated { warning } = verdict else { panic!("{verdict:?}") };
    warning.message
}

#[test]
fn times_of_either_clock_do_not_change_the_day() {
    let texts = ["11/14/2024, 3:05:00\u{202f}PM", "11/15/2024 3:05 am", "11/16/2024 12:00 P.M.", "n/a", ""];
    let (values, notes) = dates(classify("ordered", &texts));
    assert_eq!(values, ["2024-11-14", "2024-11-15", "2024-11-16", "none", "none"]);
    assert_eq!(notes, "");
    let (values, notes) =
        dates(classify("at", &["2024-11-14 23:30:00 UTC", "2024-11-15T00:30:00+01:00", "2024-11-15Z"]));
    assert_eq!(values, ["2024-11-14", "2024-11-15", "2024-11-15"]);
    assert!(notes.contains("\"+01:00\"") && notes.contains("day as written"), "{notes}");
}

#[test]
fn weeks_and_short_months_are_read_with_a_note() {
    let (values, notes) = dates(classify("Woche", &["2024-W40", "2025-W01"]));
    assert_eq!(values, ["2024-10-03", "2025-01-02"]);
    assert!(notes.contains("Thursday"), "{notes}");
    let (values, notes) = dates(classify("Period", &["Nov-24", "Dec-24"]));
    assert_eq!(values, ["2024-11-01", "2024-12-01"]);
    assert!(notes.contains("month and year") && notes.contains("2024-11-01"), "{notes}");
}

#[test]
fn fiscal_quarters_need_the_month_in_which_the_year_begins() {
    let texts = ["FY24 Q1", "FY24 Q2"];
    let undated = warning(classify("Quarter", &texts));
    assert!(undated.contains("`fiscal_year_start`") && undated.contains("\"FY24 Q1\" in line 2"), "{undated}");
    let cells: Vec<Cell> = texts.iter().map(|text| Cell::from_text(text)).collect();
    let fiscal_year = FiscalYear { first_month: 10, named_by: NamedBy::End };
    let settings = DateSettings { fiscal_year: Some(fiscal_year), ..DateSettings::default() };
    let (values, notes) = dates(classify_cells("Quarter", &cells, settings));
    assert_eq!(values, ["2023-10-01", "2024-01-01"]);
    assert!(notes.contains("fiscal year"), "{notes}");
    assert!(!notes.contains("cross"), "{notes}");
    let fiscal_year = FiscalYear { first_month: 2, named_by: NamedBy::Start };
    let settings = DateSettings { fiscal_year: Some(fiscal_year), ..DateSettings::default() };
    let (values, notes) = dates(classify_cells("Quarter", &cells, settings));
    assert_eq!(values, ["2024-02-01", "2024-05-01"]);
    assert!(notes.contains("cross"), "{notes}");
}

#[test]
fn numbers_are_dates_only_under_a_name_that_promises_them() {
    for (numbers, expected, unit) in [
        (["45566", "45597.75"], ["2024-10-01", "2024-11-01"], "spreadsheet"),
        (["1727784000", "1730462400"], ["2024-10-01", "2024-11-01"], "seconds since 1970"),
        (["1727784000000", "1730462400000"], ["2024-10-01", "2024-11-01"], "milliseconds"),
        (["202410", "202411"], ["2024-10-01", "2024-11-01"], "year and month"),
    ] {
        let typed = numbers.map(|number| Cell::Number(number.to_owned()));
        for cells in [typed, numbers.map(Cell::from_text)] {
            let (values, notes) = dates(classify_cells("order_date", &cells, DateSettings::default()));
            assert_eq!(values, expected);
            assert!(notes.contains(unit), "{notes}");
            assert_eq!(classify_cells("revenue", &cells, DateSettings::default()), DateVerdict::NotDates);
        }
    }
    assert_eq!(
        dates(classify("Datum", &["20241001", "20241101"])),
        (vec!["2024-10-01".into(), "2024-11-01".into()], String::new())
    );
}

#[test]
fn a_name_that_promises_dates_without_dates_is_reported() {
    for (name, texts) in [
        ("Date", ["1", "2"]),
        ("Month", ["January", "February"]),
        ("Week", ["40", "41"]),
        ("Year", ["2023", "2024"]),
        ("Quarter", ["Q1", "Q2"]),
        ("due_date", ["soon", "later"]),
    ] {
        let warning = warning(classify(name, &texts));
        assert!(warning.contains(&format!("{name:?}")) && warning.contains("line 2"), "{warning}");
    }
    assert_eq!(classify("Date", &["", "n/a"]), DateVerdict::NotDates);
    assert_eq!(classify("region", &["North", "South"]), DateVerdict::NotDates);
    assert_eq!(classify("update", &["1", "2"]), DateVerdict::NotDates);
    assert_eq!(dates(classify("event_time", &["1727784000"])).0, ["2024-10-01"]);
    assert_eq!(classify("response_time", &["45566", "45597"]), DateVerdict::NotDates);
    assert_eq!(classify("Month", &["125,000", "98000"]), DateVerdict::NotDates);
}

#[test]
fn a_cell_that_is_no_date_among_dates_is_rejected_by_its_line() {
    for (texts, line) in [
        (["2024-10-01", "2024-13-01", "2024-10-03"], 3),
        (["14/10/2024", "15/10/2024", "10/16/2024"], 4),
        (["2024-10-01", "2024-10-02", "pending"], 4),
        (["45566", "45567", "soon"], 4),
    ] {
        let verdict = classify("Date", &texts);
        let DateVerdict::Unreadable { line: found, message } = verdict else { panic!("{verdict:?}") };
        assert_eq!(found, line, "{message}");
        assert!(message.contains("\"Date\"") && message.contains(&format!("{:?}", texts[0])), "{message}");
    }
}

#[test]
fn one_day_above_twelve_decides_the_column() {
    let (values, notes) = dates(classify("Date", &["05/10/2024", "25/12/2024"]));
    assert_eq!((values, notes), (vec!["2024-10-05".to_owned(), "2024-12-25".to_owned()], String::new()));
    let (values, _) = dates(classify("Date", &["05/10/2024", "12/25/2024"]));
    assert_eq!(values, ["2024-05-10", "2024-12-25"]);
}

#[test]
fn the_caller_decides_where_the_column_does_not() {
    let cells = ["05/10/2024", "06/10/2024"].map(Cell::from_text);
    for (order, expected) in [(DateOrder::DayFirst, "2024-10-05"), (DateOrder::MonthFirst, "2024-05-10")] {
        let settings = DateSettings { order: Some(order), ..DateSettings::default() };
        let (values, notes) = dates(classify_cells("Date", &cells, settings));
        assert_eq!((values[0].as_str(), notes.as_str()), (expected, ""));
    }
}

#[test]
fn another_column_of_the_file_decides_where_the_column_does_not() {
    let columns = |texts: &[[&str; 2]]| -> Option<DateOrder> {
        let cells: Vec<Vec<Cell>> =
            texts.iter().map(|texts| texts.iter().map(|text| Cell::from_text(text)).collect()).collect();
        let columns = cells.iter().map(|cells| ("Date", (2..).zip(cells).collect()));
        order_of_file(columns, &DateSettings::default())
    };
    let (open, first, second) =
        (["05/10/2024", "06/11/2024"], ["25/10/2024", "26/11/2024"], ["10/25/2024", "11/26/2024"]);
    assert_eq!(columns(&[open, first]), Some(DateOrder::DayFirst));
    assert_eq!(columns(&[second, open]), Some(DateOrder::MonthFirst));
    assert_eq!((columns(&[open]), columns(&[first, second])), (None, None));
    assert_eq!(columns(&[["2024-10-25", "2024-10-26"], ["25/10/2024", "soon"]]), None);
    let settings = DateSettings { file_order: Some(DateOrder::DayFirst), ..DateSettings::default() };
    let cells = open.map(Cell::from_text);
    let (values, notes) = dates(classify_cells("Date", &cells, settings));
    assert_eq!(values, ["2024-10-05", "2024-11-06"]);
    assert!(notes.contains("day-first") && notes.contains("another column"), "{notes}");
    let stated = DateSettings { order: Some(DateOrder::MonthFirst), ..settings };
    assert_eq!(dates(classify_cells("Date", &cells, stated)).0, ["2024-05-10", "2024-06-11"]);
}

#[test]
fn a_year_of_two_digits_is_the_one_that_spans_few_years() {
    let (values, notes) = dates(classify("Date", &["24/10/05", "24/10/06", "24/11/07", "24/12/08"]));
    assert_eq!(values, ["2024-10-05", "2024-10-06", "2024-11-07", "2024-12-08"]);
    assert!(notes.contains("year-first"), "{notes}");
    let (values, _) = dates(classify("Date", &["05.10.24", "31.10.24"]));
    assert_eq!(values, ["2024-10-05", "2024-10-31"]);
    let (values, notes) = dates(classify("Date", &["27/10/24", "28/10/24", "29/10/24", "30/10/24", "31/10/24"]));
    assert_eq!((values[0].as_str(), notes.as_str()), ("2024-10-27", ""));
}

#[test]
fn typed_dates_among_texts_are_noted() {
    let typed = |day: i8| Cell::Date(jiff::civil::date(2024, 10, day).into());
    let (values, notes) = dates(classify_cells("when", &[typed(1), typed(2)], DateSettings::default()));
    assert_eq!((values, notes.as_str()), (vec!["2024-10-01".to_owned(), "2024-10-02".to_owned()], ""));
    let mixed = [typed(1), Cell::from_text("13/10/2024")];
    let (values, notes) = dates(classify_cells("when", &mixed, DateSettings::default()));
    assert_eq!(values, ["2024-10-01", "2024-10-13"]);
    assert!(notes.contains("swapped"), "{notes}");
}

#[test]
fn a_header_is_distinguished_from_dates() {
    for text in ["2024-10-01", "Nov-24", "FY24 Q1", "2024-W46", "11/14/2024 3:05 PM"] {
        assert!(looks_like_date(text), "{text}");
    }
    for text in ["Date", "2024", "20241114", "45292", "Q4", "North", "SET-12", ""] {
        assert!(!looks_like_date(text), "{text}");
    }
}
