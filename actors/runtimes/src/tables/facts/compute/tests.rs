//! Facts, compared with figures that are computed in another way.

use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use crate::tables::facts::TableFacts;
use crate::tables::{TableOptions, read_facts};

fn try_facts(text: &str, quarter: Option<&str>) -> Result<TableFacts, Cause> {
    let options = quarter.map(TableOptions::for_quarter).unwrap_or_default();
    read_facts("sales.csv", text.as_bytes(), &options)
}

fn facts_of(text: &str, quarter: Option<&str>) -> TableFacts {
    try_facts(text, quarter).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

fn error_of(text: &str, quarter: Option<&str>) -> Cause {
    try_facts(text, quarter).unwrap_err()
}

const SALES: &str = "date,region,revenue,units\n\
    2024-07-05,North,100.10,1\n\
    2024-08-05,South,200.20,2\n\
    2024-10-01,North,300.30,3\n\
    2024-11-14,South,100.00,4\n\
    2024-12-31,North,50.05,5\n\
    2025-01-01,South,999.99,6\n";

#[test]
fn a_quarter_has_its_rows_and_no_other() {
    let facts = facts_of(SALES, Some("Q4 2024"));
    assert_eq!(facts.period.rows, 3);
    let revenue = facts.measure("revenue").unwrap();
    assert_eq!(json!(revenue.total), json!(450.35));
    assert_eq!(json!(revenue.mean), json!(150.116667));
    assert_eq!((json!(revenue.min), json!(revenue.max)), (json!(50.05), json!(300.3)));
    assert_eq!(json!(revenue.previous_total), json!(300.3));
    assert_eq!(json!(revenue.growth_pct), json!(49.9667));
    assert_eq!(json!(facts.measure("units").unwrap().total), json!(12));
    assert_eq!(facts.growth.unwrap().before, "Q3 2024");
    assert_eq!(facts.headline, ["revenue", "units"]);
}

#[test]
fn a_quarter_without_a_previous_one_has_no_growth() {
    let facts = facts_of(SALES, Some("Q3 2024"));
    assert_eq!(facts.previous, None);
    assert_eq!(facts.growth, None);
    assert_eq!(facts.measure("revenue").unwrap().growth_pct, None);
}

#[test]
fn without_a_quarter_the_last_month_is_compared_with_the_first() {
    let facts = facts_of(SALES, None);
    assert_eq!(facts.period.rows, 6);
    assert_eq!(facts.period.label, "2024-07-05 to 2025-01-01");
    let revenue = facts.measure("revenue").unwrap();
    assert_eq!(json!(revenue.total), json!(1750.64));
    assert_eq!((json!(revenue.compared_total), json!(revenue.previous_total)), (json!(999.99), json!(100.1)));
    assert_eq!(json!(revenue.growth_pct), json!(898.991));
}

#[test]
fn a_quarter_without_rows_names_the_range_of_the_file() {
    let cause = error_of(SALES, Some("Q2 2020"));
    assert_eq!(cause.code, ErrorCode::NoDataForPeriod);
    assert_eq!((&cause.details["from"], &cause.details["to"]), (&json!("2024-07-05"), &json!("2025-01-01")));
}

#[test]
fn a_quarter_without_rows_states_the_order_of_day_and_month_that_was_assumed() {
    for text in [
        "Start,Amount\n05/10/2024,100\n06/11/2024,200\n",
        "[{\"Start\": \"05/10/2024\", \"v\": 1}, {\"Start\": \"06/11/2024\", \"v\": 2}]",
    ] {
        let cause = error_of(text, Some("Q4 2024"));
        assert_eq!(cause.code, ErrorCode::NoDataForPeriod);
        for part in ["\"Start\" are read month-first", "2024-05-10 to 2024-06-11", "`date_order` with `day_first`"] {
            assert!(cause.message.contains(part), "{cause}");
        }
        assert_eq!((&cause.details["column"], &cause.details["order_assumed"]), (&json!("Start"), &json!(true)));
    }
    let certain = error_of(SALES, Some("Q2 2020"));
    assert!(!certain.message.contains("date_order"), "{certain}");
    assert_eq!(certain.details["order_assumed"], json!(false));
    let facts = facts_of("Start,End,Amount\n05/10/2024,25/10/2024,100\n06/11/2024,26/11/2024,200\n", Some("Q4 2024"));
    assert_eq!((facts.period.rows, facts.date_column.as_deref()), (2, Some("Start")));
    assert_noted(&facts, "\"Start\" are read day-first");
}

#[test]
fn groups_and_months_add_up_to_the_total() {
    let facts = facts_of(SALES, Some("Q4 2024"));
    let regions = &facts.breakdowns.first().unwrap().groups;
    assert_eq!(regions.iter().map(|group| group.value.as_str()).collect::<Vec<_>>(), ["North", "South"]);
    assert_eq!(json!(regions[0].totals["revenue"]), json!(350.35));
    assert_eq!(json!(regions[0].growth_pct), json!(250));
    let shares: f64 = regions.iter().filter_map(|group| group.share_pct.as_ref()?.as_f64()).sum();
    assert!((shares - 100.0).abs() < 0.001);
    let months: Vec<_> = facts.by_month.iter().map(|month| (month.month.as_str(), month.in_period)).collect();
    assert_eq!(
        months,
        [
            ("2024-07", false),
            ("2024-08", false),
            ("2024-10", true),
            ("2024-11", true),
            ("2024-12", true),
            ("2025-01", false)
        ]
    );
}

#[test]
fn a_file_without_dates_has_facts_and_one_without_numbers_is_rejected() {
    let facts = facts_of("region,revenue\nN,1\nS,2\n", None);
    assert_eq!((facts.period.label.as_str(), facts.growth), ("all rows", None));
    assert_eq!(error_of("region,revenue\nN,1\nS,2\n", Some("Q1 2025")).code, ErrorCode::InvalidData);
    assert_eq!(error_of("date,name\n2024-01-01,a\n", None).code, ErrorCode::InvalidData);
    assert_eq!(error_of("date,n\n2024-01-01,1\n,2\n", None).details["line"], 3);
}

#[test]
fn a_quarter_of_a_file_without_readable_dates_names_the_column_that_comes_closest() {
    for (text, line, parts) in [
        ("Month,n\nJanuary,1\nFebruary,2\n", Some(2), ["\"Month\"", "\"January\" in line 2"]),
        ("order_date,n\n12,1\n13,2\n", Some(2), ["\"order_date\"", "no complete dates"]),
        ("Quarter,n\nFY24 Q1,1\nFY24 Q2,2\n", Some(2), ["\"Quarter\"", "`fiscal_year_start`"]),
        ("Zeitraum,n\nFY24 Q1,1\nFY24 Q2,2\n", Some(2), ["\"Zeitraum\"", "`fiscal_year_start`"]),
        ("Fiscal Year,Month,n\n2024,1,5\n2024,2,6\n", None, ["\"Fiscal Year\", \"Month\"", "`fiscal_year_start`"]),
        (
            "when,n\n2024-10-01,1\n2024-10-02,2\ntbd,3\n",
            Some(4),
            ["\"when\" has 2 dates among 3 values", "\"tbd\" in line 4"],
        ),
        ("region,n\nN,1\nS,2\n", None, ["its columns are \"region\", \"n\"", "no column of the data dates"]),
    ] {
        let cause = error_of(text, Some("Q4 2024"));
        assert_eq!(cause.code, ErrorCode::InvalidData, "{cause}");
        assert_eq!(cause.details.get("line").and_then(serde_json::Value::as_u64), line, "{cause}");
        assert!(parts.iter().all(|part| cause.message.contains(part)), "{cause}");
    }
    let facts = facts_of("Year,Month,n\n2024,9,5\n2024,10,6\n2024,11,7\n", Some("Q4 2024"));
    assert_eq!((json!(facts.measures[0].total), facts.date_column.as_deref()), (json!(13), Some("Year + Month")));
}

#[track_caller]
fn assert_noted(facts: &TableFacts, part: &str) {
    assert!(facts.notes.iter().any(|note| note.message.contains(part)), "{part} is not in {:#?}", facts.notes);
}

#[test]
fn whatever_a_limit_cuts_is_noted() {
    let months = (0..61).map(|month| format!("{}-{:02}-01,{}\n", 2019 + month / 12, 1 + month % 12, month + 1));
    let facts = facts_of(&format!("date,revenue\n{}", months.collect::<String>()), None);
    assert_eq!((facts.by_month.len(), facts.by_month[0].month.as_str()), (60, "2019-02"));
    assert_noted(&facts, "The file has 61 months; the 60 newest are listed.");

    let customers = (0..402).map(|row| format!("c{},{}\n", row % 201, row + 1));
    let facts = facts_of(&format!("customer,revenue\n{}", customers.collect::<String>()), None);
    assert!(facts.breakdowns.is_empty(), "{:?}", facts.breakdowns);
    assert_noted(&facts, "Column \"customer\" has 201 different values, more than 200");

    let rows = (1..=4).map(|row| {
        let group = if row % 2 == 0 { "north" } else { "south" };
        let figures: Vec<String> = (2..9).map(|factor| (row * factor).to_string()).collect();
        format!("{},{}\n", [group; 7].join(","), figures.join(","))
    });
    let header = "area,brand,tier,shift,route,shape,grade,alpha,beta,gamma,delta,epsilon,zeta,eta";
    let facts = facts_of(&format!("{header}\n{}", rows.collect::<String>()), None);
    assert_eq!((facts.breakdowns.len(), facts.headline.len()), (6, 6));
    assert_noted(&facts, "There are breakdowns by 6 columns, and none by \"grade\".");
    assert_noted(&facts, "have the 6 most important measures; \"eta\" are only among the measures.");
}

#[test]
fn a_total_with_more_digits_than_json_carries_is_noted() {
    let facts = facts_of("region,revenue\nN,9007199254740993.5\nS,1.25\n", None);
    assert_noted(&facts, "The total of \"revenue\" is 9007199254740994.75, which has more digits");
}

#[test]
fn facts_survive_as_json() {
    let facts = facts_of(SALES, Some("Q4 2024"));
    assert_eq!(TableFacts::from_json(&serde_json::to_value(&facts).unwrap()), Some(facts));
    assert_eq!(TableFacts::from_json(&json!({ "measures": 1 })), None);
}

proptest::proptest! {
    #[test]
    fn totals_equal_the_sum_of_integer_cents(cents in proptest::collection::vec(-1_000_000_i64..1_000_000_000, 1..60)) {
        let mut text = String::from("date,revenue\n");
        for (day, cents) in cents.iter().enumerate() {
            let sign = if *cents < 0 { "-" } else { "" };
            let plain = cents.unsigned_abs();
            text.push_str(&format!("2024-0{}-{:02},{sign}{}.{:02}\n", 1 + day / 28, 1 + day % 28, plain / 100, plain % 100));
        }
        let facts = facts_of(&text, None);
        let expected: i64 = cents.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let expected = expected as f64 / 100.0;
        proptest::prop_assert_eq!(facts.measure("revenue").unwrap().total.as_ref().unwrap().as_f64().unwrap(), expected);
    }
}
