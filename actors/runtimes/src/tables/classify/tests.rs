//! Columns of every kind: what each one is, why, and what is reported about it.

use greenroom_protocol::{Cause, ErrorCode};

use super::table::{Additivity, Table};
use super::{ClassifySettings, Kind, classify};
use crate::tables::dates::DateSettings;
use crate::tables::grid::GridSource;
use crate::tables::read;

fn table(text: &str) -> Table {
    try_table(text).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

fn try_table(text: &str) -> Result<Table, Cause> {
    let grid = read::read(text.as_bytes(), None)?;
    let has_semicolons = grid.source == GridSource::Delimited { delimiter: b';' };
    let dates = DateSettings { has_semicolons, ..DateSettings::default() };
    classify(grid, &ClassifySettings { dates, ..ClassifySettings::default() })
}

/// The names of the series with their units and sums.
fn sums(table: &Table) -> Vec<(&str, Option<&str>, String)> {
    let sum = |values: &[Option<super::super::decimal::Decimal>]| {
        let zero = super::super::decimal::Decimal::ZERO;
        values.iter().flatten().fold(zero, |sum, value| sum.checked_add(*value).unwrap()).to_string()
    };
    table.series.iter().map(|series| (series.name.as_str(), series.unit.as_deref(), sum(&series.values))).collect()
}

fn kinds(table: &Table) -> Vec<Kind> {
    table.columns.iter().map(|column| column.kind).collect()
}

fn messages(table: &Table) -> Vec<&str> {
    table.warnings.iter().chain(&table.notes).map(|note| note.message.as_str()).collect()
}

#[track_caller]
fn assert_reported(table: &Table, parts: &[&str]) {
    let messages = messages(table);
    let is_reported = messages.iter().any(|message| parts.iter().all(|part| message.contains(part)));
    assert!(is_reported, "{parts:?} is not in {messages:#?}");
}

#[test]
fn the_complete_column_determines_its_kind() {
    let table = table(
        "order_date,region,revenue,code\n2024-01-01,N,\"$1,200.50\",007\n2024-01-02,N,n/a,008\n2024-01-03,S,$3,009\n2024-01-03,S,$1,010\n",
    );
    assert_eq!(kinds(&table), [Kind::Date, Kind::Category, Kind::Number, Kind::Identifier]);
    assert_eq!(sums(&table), [("revenue", Some("$"), "1204.5".to_owned())]);
    assert_reported(&table, &["\"code\"", "identifier", "\"007\" in line 2"]);
    assert_reported(&table, &["\"revenue\"", "\"n/a\" (line 3)"]);
    assert!(table.columns.iter().all(|column| !column.reason.is_empty()));
}

#[test]
fn a_european_file_has_decimal_commas_and_the_choice_for_an_ambiguous_column_is_noted() {
    let table = table("Datum;Umsatz;Menge\n03.04.2024;1.234,50;1.000\n04.04.2024;2,5;2.000\n");
    assert_eq!(sums(&table), [("Umsatz", None, "1237".to_owned()), ("Menge", None, "3000".to_owned())]);
    assert_reported(&table, &["\"Menge\"", "line 2", "the point separates groups of digits", "column \"Umsatz\""]);
}

#[test]
fn figures_of_two_notations_in_one_column_are_rejected_with_their_line() {
    for (text, line) in [
        ("date,revenue\n2024-01-01,1.5\n2024-01-02,2.5\n2024-01-03,\"3,5\"\n", 4),
        ("date;revenue\n2024-01-01;1.250\n2024-01-02;2,375\n", 3),
        ("date;revenue\n2024-01-01;1.234,50\n2024-01-02;1,234.50\n2024-01-03;2.000,50\n", 3),
    ] {
        let cause = try_table(text).unwrap_err();
        assert_eq!((cause.code, &cause.details["line"]), (ErrorCode::InvalidData, &line.into()), "{cause}");
    }
}

#[test]
fn a_text_in_a_column_of_numbers_is_rejected_with_its_line_in_any_language() {
    for (text, line) in [
        ("date,revenue\n2024-01-01,5\n2024-01-02,12x\n2024-01-03,6\n", 3),
        ("Datum,Betrag,Stueck\n2024-10-01,10,1\n2024-10-02,20,2\n2024-10-03,folgt,3\n2024-10-04,30,4\n", 4),
        ("date,заметка\n2024-01-01,5\n2024-01-02,7\n2024-01-03,скоро\n", 4),
        ("date,revenue\n2024-01-01,5\n2024-01-02,10 20\n2024-01-03,6\n", 3),
    ] {
        let cause = try_table(text).unwrap_err();
        assert_eq!((cause.code, &cause.details["line"]), (ErrorCode::InvalidData, &line.into()), "{cause}");
    }
}

#[test]
fn a_column_that_is_no_number_column_because_of_its_texts_is_named() {
    let table = table("date,Betrag,n\n2024-10-01,10,1\n2024-10-02,folgt,2\n2024-10-03,offen,4\n2024-10-04,20,8\n");
    assert_reported(&table, &["\"Betrag\"", "2 numbers among 4 values", "\"folgt\" in line 3"]);
    let cause = try_table("date,Betrag\n2024-10-01,10\n2024-10-02,folgt\n").unwrap_err();
    assert!(cause.message.contains("no column of numbers") && cause.message.contains("\"Betrag\""), "{cause}");
    assert_eq!(cause.details["line"], 3);
}

#[test]
fn ids_zip_codes_and_telephone_numbers_are_texts_and_reject_no_file() {
    let table = table(
        "customer_id,PLZ,phone,sku,revenue\n1001,01067,+4930123456,A100,5\n1002,80331,030 1234567,1002,6\n1003,99084,+49 30 9,1003,8\n1004,20095,040/77,1004,9\n",
    );
    assert_eq!(sums(&table), [("revenue", None, "28".to_owned())]);
    assert_eq!(kinds(&table).first(), Some(&Kind::Identifier));
    assert_reported(&table, &["\"PLZ\"", "\"01067\" in line 2"]);
    let unnamed = self::table(",date,n\n0,2024-01-01,5\n1,2024-01-02,5\n2,2024-01-03,6\n");
    assert_eq!(kinds(&unnamed).first(), Some(&Kind::Identifier));
}

#[test]
fn a_category_of_numbers_and_texts_is_no_column_of_numbers() {
    let table = table("size,n\n38,1\n40,2\nM,4\n38,8\n40,16\nM,32\n38,64\n40,100\n");
    assert_eq!(kinds(&table), [Kind::Category, Kind::Number]);
    assert_reported(&table, &["\"size\"", "\"M\" in line 4"]);
}

#[test]
fn spreadsheet_errors_count_as_no_value_and_are_reported() {
    let table = table("date,revenue,ratio\n2024-01-01,5,#DIV/0!\n2024-01-02,#REF!,0.5\n2024-01-03,6,0.7\n");
    assert_reported(&table, &["\"revenue\"", "\"#REF!\" (line 3)"]);
    assert_reported(&table, &["\"ratio\"", "\"#DIV/0!\" (line 2)"]);
}

#[test]
fn amounts_of_several_currencies_are_series_of_their_own() {
    let by_sign = table(
        "date,customer,amount\n2024-10-01,A,$100.00\n2024-10-02,B,€200.00\n2024-11-03,C,£300.00\n2024-12-04,D,¥40000\n",
    );
    let expected = [
        ("amount ($)", "$", "100"),
        ("amount (€)", "€", "200"),
        ("amount (£)", "£", "300"),
        ("amount (¥)", "¥", "40000"),
    ];
    assert_eq!(sums(&by_sign), expected.map(|(name, unit, sum)| (name, Some(unit), sum.to_owned())));
    assert_reported(&by_sign, &["4 currencies", "never added up"]);
    let by_column = table(
        "date,currency,amount,units\n2024-10-01,USD,100,1\n2024-10-02,EUR,200,2\n2024-11-03,USD,300,3\n2024-12-04,SEK,400,9\n",
    );
    assert_eq!(kinds(&by_column).get(1), Some(&Kind::Unit));
    assert_eq!(
        sums(&by_column),
        [
            ("amount ($)", Some("$"), "400".to_owned()),
            ("amount (€)", Some("€"), "200".to_owned()),
            ("amount (SEK)", Some("SEK"), "400".to_owned()),
            ("units", None, "15".to_owned()),
        ]
    );
}

#[test]
fn one_currency_is_the_unit_wherever_it_is_written() {
    for text in [
        "date,amount\n2024-10-01,$100\n2024-10-02,$200\n",
        "date,amount (USD)\n2024-10-01,100\n2024-10-02,200\n",
        "date,amount_usd\n2024-10-01,100\n2024-10-02,200\n",
        "date,amount,currency\n2024-10-01,100,USD\n2024-10-02,200,USD\n",
        "date,amount\n2024-10-01,USD 100\n2024-10-02,200 USD\n",
        "date,amount\n2024-10-01,$100\n2024-10-02,200\n",
    ] {
        let table = table(text);
        let all = sums(&table);
        assert_eq!((all.len(), all[0].1, all[0].2.as_str()), (1, Some("$"), "300"), "{text}");
    }
    let mixed = table("date,amount\n2024-10-01,$100\n2024-10-02,200\n");
    assert_reported(&mixed, &["\"amount\"", "line 3", "counted as $"]);
}

#[test]
fn amounts_without_a_unit_are_not_added_to_one_of_several_currencies() {
    let table = table("date,amount\n2024-10-01,$100\n2024-10-02,€200\n2024-10-03,50\n2024-10-04,0\n");
    assert_eq!(sums(&table).len(), 3);
    assert_eq!(sums(&table)[2], ("amount (no unit)", None, "50".to_owned()));
}

#[test]
fn percentages_beside_plain_numbers_are_left_out() {
    let table = table("date,rate,n\n2024-10-01,10%,1\n2024-10-02,0.2,2\n2024-10-03,30%,4\n");
    assert_eq!(sums(&table), [("n", None, "7".to_owned())]);
    assert_reported(&table, &["\"rate\"", "line 3", "left out"]);
}

#[test]
fn prices_and_ratios_are_reported_as_not_added_up() {
    let table = table("date,price_per_litre,litres,margin %\n2024-10-01,1.65,40,5\n2024-10-02,1.7,30,6\n");
    let additivity: Vec<Additivity> = table.series.iter().map(|series| series.additivity).collect();
    assert_eq!(additivity, [Additivity::None, Additivity::Additive, Additivity::None]);
    assert_reported(&table, &["\"price_per_litre\"", "do not add up"]);
}

#[test]
fn of_several_columns_of_dates_the_one_that_dates_the_rows_is_noted() {
    let table = table("shipped,order_date,n\n2024-10-03,2024-10-01,1\n2024-10-04,2024-10-02,2\n");
    assert_eq!(table.dates.as_ref().map(|dates| dates.column), Some(1));
    assert_reported(&table, &["\"order_date\" dates the rows", "\"shipped\""]);
}

#[test]
fn a_row_without_a_date_and_without_a_figure_is_left_out_and_noted() {
    let table = table("date,region,note,revenue\n2024-10-01,N,open,1\n,W,closed,\n2024-10-02,S,open,2\n");
    assert_eq!((table.rows.len(), sums(&table)), (2, vec![("revenue", None, "3".to_owned())]));
    assert_reported(&table, &["Rows without a date and without a figure", "line 3"]);
}

#[test]
fn a_year_and_a_month_in_columns_of_their_own_date_the_rows() {
    for (text, name, days) in [
        ("Year,Month,Revenue\n2024,1,5\n2024,11,6\n", "Year + Month", ["2024-01-01", "2024-11-01"]),
        ("Jahr;Monat;Umsatz\n2024;Januar;5\n2024;Dezember;6\n", "Jahr + Monat", ["2024-01-01", "2024-12-01"]),
        ("month,year,n\nJan,2024,5\nFeb,2024,6\n", "year + month", ["2024-01-01", "2024-02-01"]),
        ("Year,Quarter,n\n2024,Q3,5\n2024,Q4,6\n", "Year + Quarter", ["2024-07-01", "2024-10-01"]),
        ("Année,Trimestre,n\n2024,1,5\n2024,2,6\n", "Année + Trimestre", ["2024-01-01", "2024-04-01"]),
        ("Jahr,KW,n\n2024,40,5\n2024,41,6\n", "Jahr + KW", ["2024-10-03", "2024-10-10"]),
        ("Year,Month,Day,n\n2024,2,28,5\n2024,2,29,6\n", "Year + Month + Day", ["2024-02-28", "2024-02-29"]),
        (
            "Order Year,Ship Year,Ship Month,n\n2023,2024,3,5\n2023,2024,4,6\n",
            "Ship Year + Ship Month",
            ["2024-03-01", "2024-04-01"],
        ),
    ] {
        let table = table(text);
        let dates = table.dates.as_ref().unwrap_or_else(|| panic!("{text} {:?}", messages(&table)));
        assert_eq!(table.columns[dates.column].name, name);
        assert_eq!(dates.days.iter().map(ToString::to_string).collect::<Vec<_>>(), days, "{text}");
        assert_reported(&table, &["together date the rows", "line 2"]);
        // A year that is no part of the dates is still named like one.
        let others = usize::from(text.starts_with("Order Year"));
        assert_eq!((table.series.len(), table.warnings.len()), (1, others), "{:?}", messages(&table));
    }
}

#[test]
fn parts_of_dates_are_joined_only_if_they_are_the_dates_of_the_table() {
    for text in [
        "date,Year,Month,n\n2024-01-01,2024,1,5\n2024-02-01,2024,2,6\n",
        "Model Year,Month,n\n2019,1,5\n2020,2,6\n",
        "Year,n\n2024,5\n2024,6\n",
        "Years,Months,n\n3,4,5\n4,5,6\n",
    ] {
        let table = table(text);
        assert!(!messages(&table).iter().any(|message| message.contains("together")), "{:?}", messages(&table));
    }
    let fiscal = table("Fiscal Year,Month,n\n2024,1,5\n2024,2,6\n");
    assert!(fiscal.dates.is_none());
    assert_reported(&fiscal, &["\"Fiscal Year\", \"Month\"", "`fiscal_year_start`"]);
    assert!(fiscal.undated[0].message.contains("`fiscal_year_start`"), "{:?}", fiscal.undated);
    for (text, line) in [
        ("Year,Month,n\n2024,1,5\n2024,Smarch,6\n2024,3,7\n", 3),
        ("Year,Month,n\n2024,1,5\n2024,,6\n2024,3,7\n", 3),
        ("Year,Month,Day,n\n2023,2,28,5\n2023,2,30,6\n2023,3,1,6\n", 3),
    ] {
        let cause = try_table(text).unwrap_err();
        assert_eq!(cause.details["line"], line, "{cause}");
    }
    let totals = table("Year,Month,n\n2024,1,5\n2024,2,6\nTotal,,11\n");
    assert_eq!(sums(&totals), [("n", None, "11".to_owned())]);
}

#[test]
fn figures_below_each_other_are_not_added_up() {
    let statement = "Item,2023,2024\nRevenue,100,150\nCost of goods sold,40,60\nGross profit,60,90\nHeadcount,7,9\n";
    let by_month = ",Jan 2024,Feb 2024\nUmsatz,1,2\nKosten,4,5\n";
    let plain = "figure,amount,note\nRevenue,100,a\nCosts,40,b\nother,7,c\n";
    for text in [statement, by_month, plain] {
        let table = table(text);
        assert!(table.series.iter().all(|series| series.additivity == Additivity::None), "{text}");
        assert_reported(&table, &["different figures", "in line 2", "in line 3"]);
    }
    for text in [
        "region,2023,2024\nNorth,100,150\nSouth,200,250\n",
        "department,amount\nSales,100\nCost control,40\nHR,7\nIT,9\n",
        "product,2023,2024\nSales kit,100,150\nSales book,40,60\n",
        "date,item,amount\n2024-01-01,Revenue,5\n2024-01-02,Cost,6\n",
    ] {
        let table = table(text);
        assert!(table.series.iter().all(|series| series.additivity == Additivity::Additive), "{text}");
    }
}
