//! Files → facts, over every format.

use greenroom_protocol::ErrorCode;
use serde_json::json;

use super::{TableOptions, read_facts};

#[test]
fn csv_and_json_lines_of_the_same_rows_give_the_same_facts() {
    let text = "date,revenue\n2024-10-01,5.5\n2024-11-01,6\n";
    let csv = read_facts("x.csv", text.as_bytes(), &TableOptions::for_quarter("2024-Q4")).unwrap();
    let lines = "{\"date\":\"2024-10-01\",\"revenue\":5.5}\n{\"date\":\"2024-11-01\",\"revenue\":6}\n";
    let json = read_facts("x.jsonl", lines.as_bytes(), &TableOptions::for_quarter("2024-Q4")).unwrap();
    assert_eq!(csv.measures, json.measures);
    assert_eq!(json!(csv.measures[0].total), json!(11.5));
}

#[test]
fn an_unreadable_quarter_is_rejected() {
    assert_eq!(
        read_facts("x.csv", b"a,b\n1,2\n", &TableOptions::for_quarter("soon")).unwrap_err().code,
        ErrorCode::InvalidInput
    );
}

fn facts_of(text: &str) -> super::TableFacts {
    read_facts("x.csv", text.as_bytes(), &TableOptions::default()).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

fn totals(facts: &super::TableFacts) -> Vec<(&str, serde_json::Value)> {
    facts.measures.iter().map(|measure| (measure.name.as_str(), json!(measure.total))).collect()
}

#[test]
fn a_header_of_years_is_no_data() {
    let facts = facts_of("region,2023,2024\nNorth,100,150\nSouth,200,250\n");
    assert_eq!((facts.rows, totals(&facts)), (2, vec![("2023", json!(300)), ("2024", json!(400))]));
    let facts = facts_of("region,Q3 2024,Q4 2024\nNorth,100,150\nSouth,200,250\nWest,50,60\n");
    assert_eq!(totals(&facts), [("Q3 2024", json!(350)), ("Q4 2024", json!(460))]);
}

#[test]
fn a_point_in_a_file_with_semicolons_is_not_a_group_mark() {
    let facts = facts_of(
        "date;station;price_per_litre;litres\n2024-10-01;A;1.659;40\n2024-10-02;B;1.702;30\n2024-11-03;A;1.688;25\n2024-12-04;B;1.671;50\n",
    );
    let price = facts.measure("price_per_litre").unwrap();
    assert_eq!((json!(price.mean), &price.total, price.additive), (json!(1.68), &None, false));
    assert_eq!(facts.headline, ["litres"]);
    assert!(facts.warnings[0].message.contains("price_per_litre"), "{:?}", facts.warnings);
    let facts = facts_of("date;region;revenue\n2024-10-01;North;1,200\n2024-11-01;South;3,400\n");
    assert_eq!(totals(&facts), [("revenue", json!(4600))]);
    assert_eq!((facts.warnings[0].line, facts.warnings[0].column.as_deref()), (Some(2), Some("revenue")));
}

#[test]
fn a_json_number_is_never_ambiguous() {
    let text =
        r#"[{"date":"2024-10-01","price":"12,50","weight":1.234},{"date":"2024-11-01","price":"8,25","weight":2.345}]"#;
    assert_eq!(totals(&facts_of(text)), [("price", json!(20.75)), ("weight", json!(3.579))]);
}

#[test]
fn revenue_leads_before_its_cost() {
    let facts = facts_of("date,cost_of_revenue,revenue,unit_price\n2024-10-01,5,9,2\n2024-11-01,6,8,3\n");
    assert_eq!(facts.headline, ["revenue", "cost_of_revenue"]);
}

#[test]
fn figures_that_do_not_add_up_are_in_a_headline_only_without_others_and_by_their_mean() {
    let facts = facts_of("date,rating\n2024-10-01,4\n2024-11-01,5\n2024-11-02,3\n");
    assert_eq!(facts.headline, ["rating"]);
    let months: Vec<_> = facts.by_month.iter().map(|month| json!(month.totals["rating"])).collect();
    assert_eq!(months, [json!(4), json!(4)]);
    let rating = facts.measure("rating").unwrap();
    assert_eq!((json!(rating.figure()), json!(rating.growth_pct)), (json!(4), json!(0)));
}

#[test]
fn shares_of_groups_with_different_signs_are_not_given() {
    let facts = facts_of("region,revenue\nN,200\nS,-100\nN,50\nS,-10\n");
    assert!(facts.breakdowns[0].groups.iter().all(|group| group.share_pct.is_none()));
    assert!(
        facts.notes.iter().any(|note| note.message.starts_with("There are no shares of \"revenue\" by \"region\""))
    );
    let facts = facts_of("region,revenue\nN,-200\nS,-100\nN,-50\nS,-10\n");
    assert!(facts.breakdowns[0].groups.iter().all(|group| group.share_pct.is_some()));
}

#[test]
fn groups_that_are_cut_are_summed_up_and_noted() {
    let rows: Vec<String> = (0..60).map(|row| format!("c{},{}", row % 30, row + 1)).collect();
    let facts = facts_of(&format!("customer,revenue\n{}\n", rows.join("\n")));
    let groups = &facts.breakdowns[0].groups;
    assert_eq!((groups.len(), groups[24].value.as_str(), groups[24].others), (25, "6 others", Some(6)));
    let sum: f64 = groups.iter().filter_map(|group| group.totals["revenue"].as_f64()).sum();
    assert!((sum - 1830.0).abs() < 1e-9, "{sum}");
    assert!(
        facts.notes.iter().any(|note| note.message.contains("30 groups; the 24 largest are listed")),
        "{:?}",
        facts.notes
    );
}

#[test]
fn lines_above_the_header_are_not_data() {
    for (text, total) in [
        (
            "sep=;\nDatum;Region;Umsatz\n01.10.2024;Nord;1.234,50\n02.10.2024;Sued;100,00\n03.11.2024;Nord;200,00\n",
            1534.5,
        ),
        (
            "Sales by region\nCreated 2025-01-02 08:00\n\nDate,Region,Revenue\n2024-10-01,North,100\n2024-11-01,South,200\n",
            300.0,
        ),
        (
            "Sales by region,,\nDate,Region,Revenue\n2024-10-01,North,100\n2024-11-01,South,200\n2024-12-01,South,300\n",
            600.0,
        ),
    ] {
        let facts = facts_of(text);
        assert_eq!(facts.measures[0].total.as_ref().and_then(serde_json::Number::as_f64), Some(total), "{text}");
    }
}
