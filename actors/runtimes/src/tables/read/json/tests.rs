//! The shapes of JSON documents.

use greenroom_protocol::{Cause, ErrorCode};

use super::{is_json, read};
use crate::tables::grid::{Cell, Grid, GridSource};

fn grid(text: &str) -> Grid {
    read(text, None).unwrap()
}

fn cause(text: &str) -> Cause {
    read(text, None).unwrap_err()
}

fn rows(grid: &Grid) -> Vec<String> {
    let text = |cell: &Cell| match cell {
        Cell::Empty => String::new(),
        Cell::Text(text) => format!("{text:?}"),
        Cell::Number(number) => number.clone(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Measured(..) | Cell::Date(_) | Cell::Error(_) => panic!("JSON has neither dates nor errors"),
    };
    grid.rows.iter().map(|row| row.cells.iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

fn notes(grid: &Grid) -> String {
    grid.notes.iter().map(|note| note.message.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_shape_of_records_gives_the_same_cells() {
    for text in [
        "[{\"date\":\"2024-01-01\",\"n\":1.5},{\"date\":\"2024-01-02\",\"n\":null}]",
        "{\"date\":\"2024-01-01\",\"n\":1.5}\n\n{\"date\":\"2024-01-02\",\"n\":null}\n",
        "{\"rows\":[{\"date\":\"2024-01-01\",\"n\":1.5},{\"date\":\"2024-01-02\",\"n\":null}],\"source\":\"x\"}",
        "{\n \"result\": {\"data\": [{\"date\":\"2024-01-01\",\"n\":1.5},{\"date\":\"2024-01-02\",\"n\":null}]}}",
        "{\"date\":[\"2024-01-01\",\"2024-01-02\"],\"n\":[1.5,null]}",
        "{\n\"date\":\"2024-01-01\",\n\"n\":1.5\n}\n{\n\"date\":\"2024-01-02\",\n\"n\":null}",
    ] {
        assert!(is_json(text));
        let grid = grid(text);
        assert_eq!(grid.header.as_deref().unwrap(), ["date", "n"], "{text}");
        assert_eq!(rows(&grid), ["\"2024-01-01\"|1.5", "\"2024-01-02\"|"], "{text}");
    }
}

#[test]
fn members_are_columns_in_the_order_of_the_file() {
    let grid = grid("[{\"z\":1,\"a\":2},{\"m\":3,\"a\":4,\"z\":5}]");
    assert_eq!(grid.header.as_deref().unwrap(), ["z", "a", "m"]);
    assert_eq!(rows(&grid), ["1|2|", "5|4|3"]);
    assert_eq!(grid.source, GridSource::Json);
}

#[test]
fn a_missing_member_is_noted_and_a_null_is_not() {
    let grid = grid("{\"a\":1,\"b\":null}\n{\"a\":2}\n{\"a\":3,\"c\":4,\"b\":5}\n");
    assert_eq!(rows(&grid), ["1||", "2||", "3|5|4"]);
    let notes: Vec<_> = grid.notes.iter().map(|note| (note.column.as_deref().unwrap(), note.line.unwrap())).collect();
    assert_eq!(notes, [("b", 2), ("c", 1)]);
    assert!(grid.notes[1].message.contains("missing in 2 of 3 records"), "{}", grid.notes[1].message);
}

#[test]
fn the_list_with_figures_is_the_table() {
    let text =
        "{\"count\":2,\"data\":[{\"date\":\"2024-10-01\",\"revenue\":5}],\"tags\":[{\"name\":\"x\"}],\"ids\":[1,2]}";
    let grid = grid(text);
    assert_eq!(grid.header.as_deref().unwrap(), ["date", "revenue"]);
    let notes = notes(&grid);
    assert!(notes.contains("\"data\"") && notes.contains("\"tags\"") && notes.contains("\"ids\""), "{notes}");
}

#[test]
fn of_several_tables_the_caller_names_one() {
    let text = "{\"orders\":[{\"n\":1},{\"n\":2}],\"returns\":[{\"n\":3}]}";
    let several = cause(text);
    assert_eq!(several.code, ErrorCode::InvalidInput);
    assert!(several.message.contains("\"orders\" with 2 records, \"returns\" with 1 records"), "{several}");
    assert!(several.message.contains("`table`"), "{several}");
    assert_eq!(several.details["tables"], serde_json::json!(["orders", "returns"]));
    assert_eq!(rows(&read(text, Some("returns")).unwrap()), ["3"]);
    let unknown = read(text, Some("refunds")).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::InvalidInput);
    assert!(unknown.message.contains("\"orders\", \"returns\""), "{unknown}");
    assert_eq!(read("[{\"n\":1}]", Some("x")).unwrap_err().code, ErrorCode::InvalidInput);
}

#[test]
fn lists_of_lists_are_rows_and_may_have_their_names_beside_them() {
    let plain = grid("[[\"date\",\"n\"],[\"2024-01-01\",1.50],[\"2024-01-02\",true,[1]]]");
    assert_eq!(plain.header, None);
    assert_eq!(rows(&plain), ["\"date\"|\"n\"", "\"2024-01-01\"|1.50", "\"2024-01-02\"|true|\"[1]\""]);
    let split = grid("{\"columns\":[\"date\",\"n\"],\"index\":[0],\"data\":[[\"2024-01-01\",1]]}");
    assert_eq!(rows(&split), ["\"date\"|\"n\"", "\"2024-01-01\"|1"]);
    let described = grid(
        "{\"fields\":[{\"id\":\"date\",\"type\":\"int4\"},{\"id\":\"n\",\"type\":\"int4\"}],\"records\":[[\"2024-01-01\",1]]}",
    );
    assert_eq!(rows(&described), ["\"date\"|\"n\"", "\"2024-01-01\"|1"]);
    let lines = grid("[\"date\",\"n\"]\n[\"2024-01-01\",1]\n");
    assert_eq!((lines.source, lines.rows[1].line), (GridSource::JsonLines, 2));
}

#[test]
fn members_of_inner_objects_are_columns() {
    let grid = grid("[{\"id\":1,\"price\":{\"amount\":5.10,\"currency\":\"EUR\"},\"tags\":[\"a\"]}]");
    assert_eq!(grid.header.as_deref().unwrap(), ["id", "price.amount", "price.currency", "tags"]);
    assert_eq!(rows(&grid), ["1|5.10|\"EUR\"|\"[\\\"a\\\"]\""]);
    let notes = notes(&grid);
    assert!(notes.contains("\"price\" has objects") && notes.contains("\"tags\" has lists"), "{notes}");
}

#[test]
fn numbers_keep_their_digits() {
    let grid = grid("[{\"a\":12345678901234567890.5,\"b\":1.5e3,\"c\":-0.10}]");
    assert_eq!(rows(&grid), ["12345678901234567890.5|1500|-0.10"]);
    assert_eq!(cause("[{\"a\":1},\n{\"a\":1e400}]").details["line"], 2);
}

#[test]
fn a_row_has_the_line_of_the_file_on_which_it_begins() {
    let grid = grid("[\n  {\n    \"a\": 1\n  },\n  {\n    \"a\": 2\n  }\n]\n");
    assert_eq!(grid.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn invalid_records_are_rejected_with_their_line() {
    for (text, line, expected) in [
        ("{\"a\":1}\n{\"a\":\n", 2, "not complete"),
        ("[{\"a\":1},\n2]", 2, "first one is an object"),
        ("[\n{\"a\":1}\n", 1, "not complete"),
        ("{\"a\":1}\n7\n", 2, "first one is an object"),
        ("{\"a\":1}\n{\"a\":2,}\n", 2, "cannot be read"),
        ("[{\"a\":1},\n{\"a\":NaN}]", 2, "cannot be read"),
        ("{\"a\":1}\n{\"b\":1,\"b\":2}\n", 2, "\"b\" twice"),
        ("[{\"a\":{\"b\":1}},\n{\"a.b\":1,\"a\":{\"b\":2}}]", 2, "\"a.b\" twice"),
        ("[1, 2]", 1, "neither an object nor a list"),
        ("[[1],\n{\"a\":1}]", 2, "cannot be read"),
        ("{\"2024\":{\"n\":1}}", 1, "without a list of records"),
    ] {
        let cause = cause(text);
        assert_eq!((cause.code, &cause.details["line"]), (ErrorCode::InvalidData, &line.into()), "{text} {cause}");
        assert!(cause.message.contains(expected), "{text} {cause}");
    }
    for text in ["[]", "{\"data\":[]}", "[{},{}]", "{\"data\":[{\"a\":null}]}"] {
        assert_eq!(cause(text).code, ErrorCode::InvalidData, "{text}");
    }
}

#[test]
fn one_object_of_plain_values_is_one_record() {
    let grid = grid("{\"date\":\"2024-01-01\",\n\"n\":1}");
    assert_eq!(rows(&grid), ["\"2024-01-01\"|1"]);
}

#[test]
fn a_page_of_a_longer_list_is_warned_of() {
    let records = "[{\"d\":\"2024-10-01\",\"n\":1},{\"d\":\"2024-11-01\",\"n\":2}]";
    for (members, reason) in [
        ("\"count\":120,\"next\":null", "its \"count\" is 120"),
        ("\"next\":\"http://x/?page=2\"", "it has \"next\""),
        ("\"@odata.nextLink\":\"http://x\"", "it has \"@odata.nextLink\""),
        ("\"_links\":{\"next\":{\"href\":\"/2\"}}", "it has \"_links.next.href\""),
        ("\"paging\":{\"has_more\":true}", "it has \"paging.has_more\""),
        ("\"pageInfo\":{\"hasNextPage\":true,\"endCursor\":\"x\"}", "it has \"pageInfo.hasNextPage\""),
        ("\"totalSize\":3,\"done\":false", "its \"totalSize\" is 3"),
        ("\"startAt\":0,\"maxResults\":2,\"total\":9", "its \"total\" is 9"),
    ] {
        let grid = grid(&format!("{{{members},\"items\":{records}}}"));
        let [warning] = grid.warnings.as_slice() else { panic!("{members}: {:?}", grid.warnings) };
        assert!(warning.message.contains(reason), "{members}: {}", warning.message);
        assert!(warning.message.contains("the figures are those of 2 records"), "{}", warning.message);
    }
    for members in [
        "\"count\":2,\"next\":null,\"previous\":\"http://x\"",
        "\"total\":300",
        "\"total\":2,\"page\":1,\"per_page\":100",
        "\"has_more\":false,\"next_cursor\":\"\",\"done\":true",
        "\"source\":\"x\",\"limit\":100",
    ] {
        let grid = grid(&format!("{{{members},\"items\":{records}}}"));
        assert!(grid.warnings.is_empty(), "{members}: {:?}", grid.warnings);
    }
}

#[test]
fn a_value_with_its_type_is_one_cell() {
    let grid = grid(
        "[{\"_id\":{\"$oid\":\"65a\"},\"d\":{\"$date\":\"2024-10-01T00:00:00Z\"},\"n\":{\"$numberDecimal\":\"1.250\"}},\
         {\"_id\":{\"$oid\":\"65b\"},\"d\":{\"$date\":{\"$numberLong\":\"1730419200000\"}},\"n\":{\"$numberDouble\":\"NaN\"}},\
         {\"_id\":\"c\",\"d\":null,\"n\":{\"$numberInt\":\"12\"}}]",
    );
    assert_eq!(grid.header.as_deref().unwrap(), ["_id", "d", "n"]);
    assert_eq!(rows(&grid), ["\"65a\"|\"2024-10-01T00:00:00Z\"|1.250", "\"65b\"|1730419200000|\"NaN\"", "\"c\"||12"]);
    assert_eq!(notes(&grid), "");
}
