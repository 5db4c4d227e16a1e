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
