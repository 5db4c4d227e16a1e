//! Queries over tables with quirks, and what a statement may not do.

use std::time::Duration;

use greenroom_actors::tool::{Tool, ToolInput};
use greenroom_protocol::{CallKey, Cause, ErrorCode, Json, Values};
use serde_json::json;

use super::super::super::tests::{Harness, harness};
use super::guard::Bounds;
use super::{NamedTable, QueryTable, query, read_typed};

const SALES: &str = "Region;Order Date;Revenue;Customer No;Note\n\
                     Nord;31.10.2024;1.200,50 €;00017;first\n\
                     Süd;01.11.2024;800,00 €;00018;\n\
                     Nord;15.11.2024;-100,25 €;00017;refund\n\
                     Total;;1.900,25 €;;\n";

async fn call(harness: &Harness, arguments: Json) -> Result<Json, Cause> {
    let arguments: Values = serde_json::from_value(arguments).unwrap();
    QueryTable::new().call(&ToolInput { arguments, key: CallKey::new("k").unwrap(), trace: None }, &harness.files).await
}

async fn rows(table: &str, sql: &str) -> Result<Json, Cause> {
    call(&harness(), json!({ "table": table, "sql": sql })).await.map(|result| result["rows"].clone())
}

async fn refused(table: &str, sql: &str) -> Cause {
    rows(table, sql).await.expect_err(sql)
}

fn within(sql: &str, bounds: Bounds) -> Result<super::QueryResult, Cause> {
    let lines: Vec<String> = (0..200).map(|number| format!("{number},{}", number % 7)).collect();
    let table = read_typed(format!("amount,quantity\n{}\n", lines.join("\n")).as_bytes(), None).unwrap();
    query(sql, vec![NamedTable { name: "data".to_owned(), table }], bounds)
}

#[tokio::test]
async fn numbers_dates_and_codes_have_their_types_and_totals_are_no_rows() {
    let by_month = "SELECT substr(\"Order Date\", 1, 7) AS month, count(*) AS orders, sum(Revenue) AS revenue \
                    FROM data GROUP BY month ORDER BY month";
    let result = call(&harness(), json!({ "table": SALES, "sql": by_month })).await.unwrap();
    assert_eq!(result["rows"], json!([["2024-10", 1, 1200.5], ["2024-11", 2, 699.75]]));
    let kinds: Vec<(&Json, &Json)> =
        result["columns"].as_array().unwrap().iter().map(|column| (&column["name"], &column["kind"])).collect();
    let expected =
        [(json!("month"), json!("text")), (json!("orders"), json!("integer")), (json!("revenue"), json!("number"))];
    assert_eq!(kinds, expected.iter().map(|(name, kind)| (name, kind)).collect::<Vec<_>>());
    let table = &result["tables"][0];
    assert_eq!((&table["rows"], &table["columns"][2]["unit"]), (&json!(3), &json!("€")), "{table}");
    let codes = rows(SALES, "SELECT DISTINCT \"Customer No\", Note FROM data WHERE Note IS NOT NULL ORDER BY 2").await;
    assert_eq!(codes.unwrap(), json!([["00017", "first"], ["00017", "refund"]]), "an empty cell is no value");
}

#[tokio::test]
async fn a_table_without_numbers_can_be_queried_and_figures_of_several_units_keep_theirs() {
    let names = "name,city\nAda,London\nBlaise,Paris\nCarl,\n";
    assert_eq!(rows(names, "SELECT name FROM data WHERE city IS NULL").await.unwrap(), json!([["Carl"]]));
    let mixed = "item,price\na,$5\nb,€7\nc,$1\n";
    let by_unit = rows(mixed, "SELECT price_unit, sum(price) FROM data GROUP BY 1 ORDER BY 1").await.unwrap();
    assert_eq!(by_unit, json!([["$", 6], ["€", 7]]));
    let same = "Name,name,NAME\na,b,c\nd,e,f\n";
    let apart = rows(same, "SELECT Name, name_2, NAME_3 FROM data").await.unwrap();
    assert_eq!(apart, json!([["a", "b", "c"], ["d", "e", "f"]]), "a query does not distinguish the case of letters");
}

#[tokio::test]
async fn a_document_that_is_one_page_of_a_longer_list_is_named_as_such() {
    let harness = harness();
    let page = br#"{"value": [{"id": 1, "amount": 10}, {"id": 2, "amount": 20}], "total_count": 70}"#;
    let page = harness.files.store_artifact(page, "page.json", "application/json").await.unwrap();
    let result =
        call(&harness, json!({ "file": page.to_json(), "sql": "SELECT sum(amount) FROM data" })).await.unwrap();
    assert_eq!(result["rows"], json!([[30]]));
    let notes = result["tables"][0]["notes"].to_string();
    assert!(notes.contains("may be one page of a longer list"), "{notes}");
}

#[tokio::test]
async fn files_are_joined_by_the_names_of_their_tables() {
    let harness = harness();
    let orders = b"customer,amount\n1,10\n2,20\n1,5\n";
    let customers = br#"[{"id": 1, "name": "Ann"}, {"id": 2, "name": "Ben"}]"#;
    let orders = harness.files.store_artifact(orders, "orders.csv", "text/csv").await.unwrap();
    let customers = harness.files.store_artifact(customers, "customers.json", "application/json").await.unwrap();
    let files = json!([
        { "name": "orders", "file": orders.to_json() },
        { "name": "customers", "file": customers.to_json() },
    ]);
    let sql = "SELECT c.name, sum(o.amount) AS total FROM orders o JOIN customers c ON c.id = o.customer \
               GROUP BY c.name ORDER BY total DESC";
    let result = call(&harness, json!({ "files": files, "sql": sql, "limit": 1 })).await.unwrap();
    assert_eq!((&result["rows"], &result["truncated"]), (&json!([["Ben", 20]]), &json!(true)));
    let single = json!({ "file": orders.to_json(), "sql": "SELECT count(*) FROM data" });
    assert_eq!(call(&harness, single).await.unwrap()["rows"], json!([[3]]));
    for (arguments, code, word) in [
        (json!({ "sql": "SELECT 1" }), ErrorCode::MissingInput, "`files`"),
        (json!({ "sql": "SELECT 1", "file": "../x.csv" }), ErrorCode::PathNotAllowed, ""),
        (json!({ "sql": "SELECT 1", "file": orders.to_json(), "table": "a\n1\n" }), ErrorCode::InvalidInput, "both"),
        (json!({ "sql": "SELECT 1", "files": [{ "name": "1x", "file": "a" }] }), ErrorCode::InvalidInput, "1x"),
        (
            json!({ "sql": "SELECT 1", "files": [{ "name": "sqlite_master", "file": "a" }] }),
            ErrorCode::InvalidInput,
            "sqlite_master",
        ),
        (json!({ "sql": "SELECT 1", "table": "a\n1\n", "limit": 0 }), ErrorCode::InvalidInput, "`limit`"),
        (json!({ "sql": "SELECT 1", "table": "a\n1\n", "max": 1 }), ErrorCode::InvalidInput, "max"),
        (json!({ "sql": "x".repeat(20_000), "table": "a\n1\n" }), ErrorCode::PayloadTooLarge, "statement"),
    ] {
        let cause = call(&harness, arguments).await.unwrap_err();
        assert!(cause.code == code && cause.message.contains(word), "{cause}");
    }
}

#[tokio::test]
async fn an_error_names_its_position_and_what_there_is_instead() {
    for (sql, words) in [
        ("SELECT revnue FROM data", &["no such column", "line 1, column 8", "\"Revenue\"", "\"Order Date\""][..]),
        ("SELECT \"revnue\" FROM data", &["no such column", "\"Revenue\""][..]),
        ("SELECT Revenue\nFORM data", &["syntax error", "line 2"][..]),
        ("SELECT Revenue FROM sales", &["no such table", "the tables are: `data`"][..]),
        ("SELECT sum(Revenue FROM data", &["syntax error"][..]),
        ("SELECT Revenue FROM data; SELECT 1", &["only one statement"][..]),
        ("", &["one SELECT"][..]),
        ("-- nothing", &["one SELECT"][..]),
    ] {
        let cause = refused(SALES, sql).await;
        assert_eq!(cause.code, ErrorCode::InvalidInput, "{sql}: {cause}");
        for word in words {
            assert!(cause.message.contains(word), "{sql}: {cause}");
        }
    }
    assert!(rows(SALES, "/* a */ -- b\n with t AS (SELECT 1 AS one) SELECT one FROM t;").await.is_ok());
}

#[tokio::test]
async fn a_statement_reads_the_tables_and_nothing_else() {
    for sql in [
        "DELETE FROM data",
        "INSERT INTO data SELECT * FROM data",
        "WITH t AS (SELECT 1) INSERT INTO data SELECT * FROM data",
        "WITH t AS (SELECT 1) UPDATE data SET Note = 'x'",
        "DROP TABLE data",
        "CREATE TABLE t (a)",
        "PRAGMA table_info(data)",
        "ATTACH DATABASE '/tmp/x.db' AS x",
        "VACUUM INTO '/tmp/x.db'",
        "EXPLAIN SELECT 1",
        "BEGIN",
        "SELECT * FROM pragma_table_info('data')",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_master",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT readfile('/etc/passwd')",
        "SELECT randomblob(1000000000)",
        "SELECT random() FROM data",
        "SELECT fts3_tokenizer('simple')",
        "SELECT sqlite_version()",
        "SELECT CURRENT_TIMESTAMP",
        "SELECT ?1 FROM data",
        "SELECT :name FROM data",
        "SELECT date('now')",
        "SELECT strftime('%Y')",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    ] {
        let cause = refused(SALES, sql).await;
        assert_eq!(cause.code, ErrorCode::InvalidInput, "{sql}: {cause}");
    }
    assert_eq!(rows(SALES, "SELECT strftime('%Y', max(\"Order Date\")) FROM data").await.unwrap(), json!([["2024"]]));
}

#[test]
fn a_query_ends_at_its_bounds() {
    let steps = Bounds { steps: 100_000, ..Bounds::default() };
    let joined =
        "SELECT count(*) FROM data a, data b, data c, data d WHERE a.amount + b.amount + c.amount + d.amount = 1";
    let first = within(joined, steps).unwrap_err();
    assert!(first.code == ErrorCode::PayloadTooLarge && first.message.contains("100000 steps"), "{first}");
    assert_eq!(within(joined, steps).unwrap_err(), first, "the steps are counted, and not the time");
    let slow = Bounds { time_max: Duration::ZERO, ..Bounds::default() };
    let slow = within("SELECT sum(length(replace(hex(amount), '3', 'x'))) FROM data", slow).unwrap_err();
    assert!(slow.code == ErrorCode::PayloadTooLarge && slow.message.contains("after 0 s"), "{slow}");
    let all = within("SELECT amount FROM data", Bounds { rows: 1_000, ..Bounds::default() }).unwrap();
    assert_eq!((all.rows.len(), all.truncated), (200, false));
    let few = within("SELECT amount FROM data", Bounds { rows: 199, ..Bounds::default() }).unwrap();
    assert_eq!((few.rows.len(), few.row_count, few.truncated), (199, 199, true));
    let small = within("SELECT printf('%.1000c', 'x') FROM data", Bounds { result_bytes: 10_000, ..Bounds::default() });
    let small = small.unwrap();
    assert!(small.truncated && (8..10).contains(&small.rows.len()), "{}", small.rows.len());
    let joined = "SELECT printf('%.50000c', 'x') || printf('%.50000c', 'x') FROM data";
    let long = within(joined, Bounds::default()).unwrap_err();
    assert_eq!(long.code, ErrorCode::PayloadTooLarge, "{long}");
    let deep = format!("SELECT {}1{}", "(1 + ".repeat(2_000), ")".repeat(2_000));
    assert_eq!(within(&deep, Bounds::default()).unwrap_err().code, ErrorCode::InvalidInput);
}

#[cfg(target_os = "linux")]
#[test]
fn a_sort_that_needs_too_much_memory_is_ended() {
    let bounds = Bounds { memory_bytes: 64 * 1024 * 1024, ..Bounds::default() };
    let sort = "SELECT count(*) FROM (SELECT printf('%.20000c', 'x') || a.amount || b.amount || c.amount AS long \
                FROM data a, data b, data c ORDER BY long LIMIT -1 OFFSET 1)";
    let cause = within(sort, bounds).unwrap_err();
    assert!(cause.code == ErrorCode::PayloadTooLarge && cause.message.contains("64 MiB"), "{cause}");
}
