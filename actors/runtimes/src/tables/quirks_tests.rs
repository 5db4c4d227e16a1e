//! Small files, each with one quirk of real exports, and the figures that a reader of the file would compute.

use serde_json::json;

use super::{TableFacts, TableOptions, read_facts};

fn try_facts(bytes: &[u8]) -> Result<TableFacts, greenroom_protocol::Cause> {
    read_facts("x", bytes, &TableOptions::default())
}

fn facts_of(text: &str) -> TableFacts {
    try_facts(text.as_bytes()).unwrap_or_else(|cause| panic!("{cause}: {text}"))
}

/// The measures: name, unit and total; without a total, their mean after `~`.
fn measures(facts: &TableFacts) -> Vec<String> {
    let measure = |measure: &super::Measure| {
        let figure = match &measure.total {
            Some(total) if measure.additive => json!(total).to_string(),
            Some(_) | None => format!("~{}", json!(measure.mean)),
        };
        let unit = measure.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        format!("{}: {figure}{unit}", measure.name)
    };
    facts.measures.iter().map(measure).collect()
}

fn messages(facts: &TableFacts) -> String {
    let all = facts.warnings.iter().map(|note| format!("warning: {}", note.message));
    all.chain(facts.notes.iter().map(|note| note.message.clone())).collect::<Vec<_>>().join("\n")
}

/// A file, its measures, and parts of what is reported about it.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

#[track_caller]
fn assert_cases(cases: &[Case]) {
    let mut failures = Vec::new();
    for (text, expected, reported) in cases {
        let facts = match try_facts(text.as_bytes()) {
            Ok(facts) => facts,
            Err(cause) => {
                failures.push(format!("{text}\n  rejected: {cause}"));
                continue;
            }
        };
        let (found, messages) = (measures(&facts), messages(&facts));
        if found != *expected {
            failures.push(format!("{text}\n  found {found:?}\n  not   {expected:?}\n  {messages}"));
        }
        for part in *reported {
            if !messages.contains(part) {
                failures.push(format!("{text}\n  {part:?} is not in\n  {messages}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Files that are rejected: the line, and parts of the message.
#[track_caller]
fn assert_rejected(cases: &[(&str, Option<u64>, &[&str])]) {
    for (text, line, parts) in cases {
        let cause = match try_facts(text.as_bytes()) {
            Ok(facts) => panic!("{text}\n{:?}\n{}", measures(&facts), messages(&facts)),
            Err(cause) => cause,
        };
        assert_eq!(cause.details.get("line").and_then(serde_json::Value::as_u64), *line, "{text}\n{cause}");
        assert!(parts.iter().all(|part| cause.message.contains(part)), "{text}\n{cause}");
    }
}

#[test]
fn headers_and_what_stands_around_them() {
    assert_cases(&[
        // A byte order mark, a stated delimiter, a trailing delimiter, a decimal comma.
        (
            "\u{feff}sep=;\r\nDatum;Umsatz;\r\n01.10.2024;1.234,5;\r\n02.10.2024;10;\r\n",
            &["Umsatz: 1244.5"],
            &["delimiter"],
        ),
        // Only the rows have the trailing delimiter.
        ("region,revenue\nN,1,\nS,2,\n", &["revenue: 3"], &[]),
        // The header repeats in the middle, as after a page break.
        ("region,revenue\nN,1\nS,2\nregion,revenue\nE,4\n", &["revenue: 7"], &["repeats in line 4"]),
        // Two rows of headers: the lower one names the columns, the upper one is reported.
        (
            "Report,2023,,2024,\nRegion,Rev,Cost,Rev,Cost\nN,1,2,3,4\nS,10,20,30,40\n",
            &["Rev: 11", "Cost: 22", "Rev_2: 33", "Cost_2: 44"],
            &["Line 1 is above the header", "\"Rev\" more than once", "\"Cost\" more than once"],
        ),
        // Footnotes in two columns, and one with the delimiter in it.
        ("region,revenue\nN,1\nS,2\nSource: ERP,\n", &["revenue: 3"], &["Line 4 is a text without a figure"]),
        (
            "date,region,revenue\n2024-10-01,N,1\n2024-10-02,S,2\nSource: ERP, as of 2024-12-31\n",
            &["revenue: 3"],
            &["Line 4 is a text without a figure"],
        ),
        ("date,region,revenue\n2024-10-01,N,1\n2024-10-02,S,2\n\n* preliminary,,\n", &["revenue: 3"], &["Line 5"]),
        // A column without a name and without a value, and one without a value only.
        ("a,,n,empty\nx,,1,\ny,,2,\n", &["n: 3"], &[]),
        // A line above the header that is as wide as the table.
        ("Rows;2\nRegion;Revenue\nNorth;5\nSouth;6\n", &["Revenue: 11"], &["Line 1 is above the header"]),
        // The index of a data frame has no name, and its first row counts from 0.
        (",x,y\n0,1,2\n1,5,9\n2,7,4\n", &["x: 13", "y: 15"], &["\"column_1\" is read as an identifier"]),
        // A year for the plan and for what was achieved.
        ("Region;2024;2024\nNord;100;150\nSued;200;250\n", &["2024: 300", "2024_2: 400"], &["more than once"]),
        // Years as names.
        ("Land;2022;2023\nDE;1;2\nFR;3;4\n", &["2022: 4", "2023: 6"], &["\"2022\", \"2023\" are names of columns"]),
    ]);
    // A row that was cut off is no footnote.
    assert_rejected(&[
        ("date,region,revenue\n2024-10-01,N,1\n2024-10-02,S,2\n2024-10-03,N\n", Some(4), &["3 columns"]),
        ("Date,Revenue\n2024-10-01,1,234.50\n2024-11-01,3,456.50\n", Some(2), &["line 1 has 2 names", "\"1,234.50\""]),
        ("date,revenue,weight\n,EUR,kg\n2024-10-01,1,2\n2024-10-02,3,4\n", Some(2), &["\"EUR\""]),
    ]);
}

#[test]
fn totals_of_every_kind_are_left_out() {
    assert_cases(&[
        ("region,revenue\nN,100\nS,200\nAverage,150\n", &["revenue: 300"], &["Rows of means", "line 4"]),
        (
            "region,revenue,n\nN,100,1\nS,200,2\nTotal,300,3\nMean,150,1.5\n",
            &["revenue: 300", "n: 3"],
            &["Rows of means", "Total rows"],
        ),
        ("region,revenue\nN,100\nS,200\nE,600\nMax,600\nMin,100\n", &["revenue: 900"], &["lines 5 and 6"]),
        ("region,revenue\nN,33.3\nS,33.4\nE,10\nDurchschnitt,25.57\n", &["revenue: 76.7"], &["Rows of means"]),
        // `Average` is a size, and its figure is no mean.
        ("size,revenue\nSmall,10\nAverage,50\nLarge,20\n", &["revenue: 80"], &["are counted"]),
        // `Max` is a person.
        ("name,revenue\nAnn,10\nMax,50\nBen,20\n", &["revenue: 80"], &[]),
        // Labels that begin with digits.
        (
            "year,region,revenue\n2023,N,1\n2023,S,2\n2023 Total,,3\n2024,N,4\n2024,S,6\n2024 Total,,10\nGrand Total,,13\n",
            &["revenue: 13"],
            &["lines 4, 7 and 8"],
        ),
        // Subtotals without a label: the product is blank, the region is that of the group.
        (
            "region,product,revenue\nN,A,10\nN,B,20\nN,,30\nS,A,5\nS,B,7\nS,,12\n,,42\n",
            &["revenue: 42"],
            &["lines 4, 7 and 8", "without a label"],
        ),
        // A group with one row has a subtotal too.
        ("region,product,revenue\nN,A,10\nN,B,20\nN,,30\nS,A,5\nS,,5\n", &["revenue: 35"], &["lines 4 and 6"]),
        // A blank in a row that is no sum of its group is only a blank.
        ("region,product,revenue\nN,A,1\nS,B,2\nE,,3\nW,C,7\n", &["revenue: 13"], &[]),
        // Totals of two levels.
        (
            "place,revenue\nA1,1\nA2,2\nA3,3\nA total,6\nB1,4\nB2,5\nB total,9\nNorth total,15\nC1,10\nC2,20\nC total,30\n\
             D1,5\nD2,6\nD total,11\nSouth total,41\nTotal,56\n",
            &["revenue: 56"],
            &["lines 5, 8, 9, 12, 15, 16 and 17"],
        ),
        // A total above its rows, without a label.
        ("region,revenue\n,300\nN,100\nS,200\n", &["revenue: 300"], &["line 2"]),
        // Negative totals, and totals of zero.
        ("konto,betrag\nA,-10\nB,-20\nSumme,-30\n", &["betrag: -30"], &["Total rows are left out"]),
        ("konto,betrag\nA,-10\nB,10\nSumme,0\n", &["betrag: 0"], &["Total rows are left out"]),
        ("Region;Umsatz\nNord;1,5\nSüd;2,5\nGesamtergebnis;4,0\n", &["Umsatz: 4"], &["Total rows"]),
        ("Регион,Выручка\nСевер,1\nЮг,2\nИтого,3\n", &["Выручка: 3"], &["Total rows"]),
        ("Region,Försäljning\nN,1\nS,2\nTotalt,3\n", &["Försäljning: 3"], &["Total rows"]),
        ("Région,Ventes\nN,1\nS,2\nSomme,3\n", &["Ventes: 3"], &["Total rows"]),
    ]);
}

#[test]
fn notations_and_units_of_figures() {
    assert_cases(&[
        ("a,n\nx,\"1,23,456.78\"\ny,\"12,34,567.22\"\n", &["n: 1358024"], &[]),
        ("a;n\nx;1'234.50\ny;10'000.50\n", &["n: 11235"], &[]),
        ("a;n\nx;1\u{202f}234,50\ny;1\u{2009}000,50\ny;1\u{a0}000\n", &["n: 3235"], &[]),
        ("a;n\nx;€ 1.200,00\ny;1.200,00 €\n", &["n: 2400 €"], &[]),
        ("a;n\nx;CHF 1'200.-\ny;CHF 300.50\n", &["n: 1500.5 CHF"], &[]),
        ("a;n\nx;1 200 kr\ny;300,50 kr\n", &["n: 1500.5 kr"], &[]),
        ("a;n\nx;$1,200.00 USD\ny;$300.50 USD\n", &["n: 1500.5 $"], &[]),
        ("a;anteil\nx;12,5 %\ny;7,5 %\n", &["anteil: ~10 %"], &["do not add up"]),
        ("a,n\nx,5k€\ny,1.5k€\n", &["n: 6500 €"], &["counted in full"]),
        ("a,n\nx,١٢٣\ny,٧\n", &["n: 130"], &[]),
        ("a,n\nx,1.5e3\ny,2E+2\n", &["n: 1700"], &[]),
        ("a,n\nx,100-\ny,(50)\nz,\"1,000\"\n", &["n: 850"], &[]),
        // Units in the name.
        ("a,Revenue (k€)\nx,1.5\ny,2\n", &["Revenue (k€): 3.5 k€"], &[]),
        ("a,Umsatz (Mio. EUR)\nx,1.5\ny,2\n", &["Umsatz (Mio. EUR): 3.5 M€"], &[]),
        ("a,Revenue USD m\nx,1.5\ny,2\n", &["Revenue USD m: 3.5 M$"], &[]),
        ("a,\"Revenue, in thousands\"\nx,1.5\ny,2\n", &["Revenue, in thousands: 3.5 thousand"], &[]),
        ("a,Revenue (thousands),Currency\nx,1,EUR\ny,2,EUR\n", &["Revenue (thousands): 3 k€"], &[]),
        (
            "a,Amount (EUR)\nx,$5\ny,$6\n",
            &["Amount (EUR): 11 $"],
            &["warning: The name of column \"Amount (EUR)\" states €"],
        ),
        ("a,% of total\nx,25\ny,75\n", &["% of total: ~50 %"], &["do not add up"]),
        // An unknown unit is named, and so is the column that it makes a text.
        (
            "a,n,Menge\nx,1,10 Kisten\ny,2,12 Kisten\nz,3,7 Kisten\n",
            &["n: 6"],
            &["warning: Column \"Menge\" has figures with \"Kisten\""],
        ),
        // Of several unknown words and marks, too.
        (
            "a,n,Betrag\nx,1,100.00 CR\ny,2,50.00 DR\nz,3,70.00 CR\nz,4,20.00 DR\n",
            &["n: 10"],
            &["warning: Column \"Betrag\" has figures with \"CR\", \"DR\", such as \"100.00 CR\" in line 2"],
        ),
        ("a,n,x\nx,1,1.5 lakh\ny,2,3 crore\nz,3,2 lakh\nz,4,1 crore\n", &["n: 10"], &["\"crore\", \"lakh\""]),
        ("a,n,x\nx,1,~1200\ny,2,~1300\nz,3,~900\n", &["n: 6"], &["warning: Column \"x\" has figures with \"~\""]),
        ("a,n,x\nx,1,'1200\ny,2,'1300\nz,3,'900\n", &["n: 6"], &["warning: Column \"x\" has figures with \"'\""]),
        ("a,n,x\nx,1,<5\ny,2,<10\nz,3,>20\nz,4,>30\n", &["n: 10"], &["warning: Column \"x\" has figures with \"<\""]),
        ("a,n,dauer\nx,1,1:30\ny,2,2:15\nz,3,0:45\n", &["n: 6"], &["warning: Column \"dauer\" has figures with \":\""]),
    ]);
    assert_rejected(&[
        ("a,n\nx,5\ny,6 boxes\nz,7\n", Some(3), &["\"6 boxes\"", "not a number"]),
        ("a,n\nx,5\ny,12-34\nz,7\n", Some(3), &["\"12-34\""]),
    ]);
}

#[test]
fn a_currency_may_be_missing_in_its_column() {
    assert_cases(&[(
        "a,amount,iso\nx,100,EUR\ny,200,USD\nz,50,n/a\nx,10,EUR\ny,5,USD\n",
        &["amount (€): 110 €", "amount ($): 205 $", "amount (no unit): 50"],
        &["warning: Column \"amount\" has figures in 3"],
    )]);
}

#[test]
fn what_stands_between_header_and_rows_is_no_data() {
    assert_cases(&[
        (
            "| date | revenue |\n|------|--------:|\n| 2024-10-01 | 100 |\n| 2024-11-01 | 200 |\n",
            &["revenue: 300"],
            &["Line 2 is a rule and is not counted as data"],
        ),
        ("a;n\n=====;=====\nx;1\ny;2\n-----;-----\n", &["n: 3"], &["Lines 2 and 5 are a rule"]),
        ("a,n\nx,1\ny,---\nz,2\n", &["n: 3"], &["marks"]),
        ("\u{feff}a,n\nx,1\n\u{feff}a,n\ny,2\n", &["n: 3"], &["The header in line 1 repeats in line 3"]),
    ]);
}

#[test]
fn figures_that_are_no_quantities_or_do_not_add_up() {
    assert_cases(&[
        ("Customer,Store,Revenue\n1001,7,5\n1002,8,6\n", &["Revenue: 11"], &["\"Customer\" is read as an identifier"]),
        ("customers,Revenue\n10,5\n20,6\n", &["customers: 30", "Revenue: 11"], &[]),
        ("city,lat,lon,n\nA,52.5,13.4,1\nB,48.1,11.6,2\n", &["lat: ~50.3", "lon: ~12.5", "n: 3"], &["coordinates"]),
        ("zip,phone,n\n01067,+4930123456,1\n80331,+4989654321,2\n", &["n: 3"], &["\"zip\"", "\"phone\""]),
        (
            "a,growth_yoy,rank,cpc,revenue\nx,5,1,0.5,10\ny,7,2,0.7,20\n",
            &["growth_yoy: ~6", "rank: ~1.5", "cpc: ~0.6", "revenue: 30"],
            &[],
        ),
        ("account,code,n\n12345678901234567890,x,1\n12345678901234567891,y,2\n", &["n: 3"], &["\"account\""]),
        (
            "wert,n\n12345678901234567890,1\n12345678901234567891,2\n",
            &["n: 3"],
            &["warning: Column \"wert\"", "more digits"],
        ),
        ("a,n\nx,0.0042\ny,0.0001\n", &["n: 0.0043"], &[]),
    ]);
    let facts = facts_of("Customer,lat,Revenue\n1001,52.5,5\n1002,48.1,6\n");
    assert_eq!(facts.headline, ["Revenue"]);
}

#[test]
fn years_without_a_name_are_not_added_up() {
    let years: &[&str] = &["\"column_1\" is read as an identifier and is not added up", "no name", "as years do"];
    assert_cases(&[
        ("2019,5\n2020,7\n2021,9\n", &["column_2: 21"], years),
        ("2021;5,5\n2020;7\n2020;1\n2019;9\n", &["column_2: 22.5"], years),
        (",x,y\n2019,5,1\n2020,7,2\n2021,9,3\n", &["x: 21", "y: 6"], years),
        (",x,y\n1900,5,1\n,7,2\n1901,9,3\n", &["x: 21", "y: 6"], years),
        ("[[2099,5],[2100,7],[2100,9]]", &["column_2: 21"], years),
        // Amounts jump.
        ("2000,5\n1950,7\n2075,9\n", &["column_1: 6025", "column_2: 21"], &[]),
        (",x,y\n2019,5,1\n2021,7,2\n2023,9,3\n", &["column_1: 6063", "x: 21", "y: 6"], &[]),
        ("2000,5\n2000,7\n2000,9\n", &["column_1: 6000", "column_2: 21"], &[]),
        ("1899,5\n1900,7\n1901,9\n", &["column_1: 5700", "column_2: 21"], &[]),
        ("2099,5\n2100,7\n2101,9\n", &["column_1: 6300", "column_2: 21"], &[]),
        ("2019,5\n2020.5,7\n2021,9\n", &["column_1: 6060.5", "column_2: 21"], &[]),
        ("$2019,5\n$2020,7\n$2021,9\n", &["column_1: 6060 $", "column_2: 21"], &[]),
        ("steps,n\n2019,5\n2020,7\n2021,9\n", &["steps: 6060", "n: 21"], &[]),
    ]);
}

#[test]
fn json_of_every_shape() {
    assert_cases(&[
        (
            r#"{"status":"ok","data":{"rows":[{"d":"2024-10-01","n":1},{"d":"2024-10-02","n":2}],"total":3}}"#,
            &["n: 3"],
            &[],
        ),
        (r#"[{"n":"1,5","id":12345678901234567890},{"n":"2,5","id":12345678901234567891}]"#, &["n: 4"], &[]),
        ("{\"n\":1,\"d\":null}\n{\"n\":null,\"d\":\"x\"}\n{\"n\":2}\n", &["n: 3"], &["\"d\" is missing in 1 of 3"]),
        (
            r#"[{"sale":{"amount":5,"currency":"EUR"}},{"sale":{"amount":6,"currency":"USD"}}]"#,
            &["sale.amount (€): 5 €", "sale.amount ($): 6 $"],
            &["2 currencies"],
        ),
        (r#"{"fields":[{"name":"date"},{"name":"n"}],"rows":[["2024-10-01",1],["2024-10-02",2]]}"#, &["n: 3"], &[]),
        (r#"[{"n":0.1},{"n":0.2},{"n":1e-3}]"#, &["n: 0.301"], &[]),
        (r#"{"date":["2024-10-01","2024-10-02"],"n":[1,2]}"#, &["n: 3"], &["are the columns"]),
    ]);
}

#[test]
fn dates_of_every_form() {
    for (text, column, from) in [
        ("日付,n\n2024年10月1日,1\n2024年10月2日,2\n", "日付", "2024-10-01"),
        ("TIME_PERIOD,n\n2024M10,1\n2024M11,2\n", "TIME_PERIOD", "2024-10-01"),
        ("created_at,n\n1727784000000,1\n1727870400000,2\n", "created_at", "2024-10-01"),
        ("Date,n\n45566,1\n45567.5,2\n", "Date", "2024-10-01"),
        ("when,n\n\"Oct 1, 2024, 3:05:00\u{202f}pm\",1\n\"Oct 2, 2024, 3:05:00\u{202f}AM\",2\n", "when", "2024-10-01"),
        ("날짜,n\n2024. 10. 1.,1\n2024. 10. 2.,2\n", "날짜", "2024-10-01"),
        ("Datum,n\n01.10.2024.,1\n02.10.2024.,2\n", "Datum", "2024-10-01"),
        ("month,n\n2024/10,1\n2024/11,2\n", "month", "2024-10-01"),
        ("KW,n\nKW 40/2024,1\nKW 41/2024,2\n", "KW", "2024-10-03"),
        ("Zeit,n\n01.10.2024 10:30 Uhr,1\n02.10.2024 10:30 Uhr,2\n", "Zeit", "2024-10-01"),
        ("month,n\nOkt-24,1\nDez-24,2\n", "month", "2024-10-01"),
        ("d,n\n2024-10-01T00:30:00+02:00,1\n2024-10-02T00:30:00+02:00,2\n", "d", "2024-10-01"),
    ] {
        let facts = facts_of(text);
        assert_eq!((facts.date_column.as_deref(), facts.period.from.as_deref()), (Some(column), Some(from)), "{text}");
        assert_eq!(measures(&facts), ["n: 3"], "{text}");
    }
    assert_cases(&[
        (
            "Period,n\n01.10.2024 - 31.10.2024,1\n01.11.2024 - 30.11.2024,2\n",
            &["n: 3"],
            &["warning: Column \"Period\" is named like a date"],
        ),
        // A span of two years is no month.
        ("Fiscal Year,n\n2009/10,1\n2010/11,2\n", &["n: 3"], &["warning: Column \"Fiscal Year\" is named like a date"]),
        ("season,n\n2009-10,1\n2010-11,2\n2011-12,3\n", &["n: 6"], &[]),
        ("Half,n\nH1 2024,1\nH2 2024,2\n", &["n: 3"], &[]),
        ("Year,n\n2023,1\n2024,2\n", &["n: 3"], &["warning: Column \"Year\" is named like a date"]),
    ]);
}
