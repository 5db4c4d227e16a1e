//! Invalid input is rejected with its error code, its location and its exit code, and no record is lost:
//! wrong inputs, unknown names, files that are too large or malformed, paths outside the allowed folder,
//! text that looks like code, and hostile definitions.

use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

const AGENT: [&str; 3] = ["run", "agent", "executive_summary_agent"];
const REPORT: [&str; 3] = ["run", "workflow", "generate_quarterly_report"];
const MEGABYTE: usize = 1024 * 1024;

/// Runs each command, and fails unless it is rejected with this exit code, error code and text.
async fn expect_refused(terminal: &CliHarness, cases: &[(&[&str], i32, &str, &str)]) -> Result<()> {
    for (words, exit, code, text) in cases {
        let error = terminal.run(&[words, &["-o", "json"][..]].concat()).await?.expect_error(*exit);
        let error = error.with_context(|| format!("{words:?}"))?;
        let message = error["message"].as_str().unwrap_or_default();
        assert!(error["code"] == *code && message.contains(text), "{words:?}: {code} and {text:?}, not {error:#}");
    }
    Ok(())
}

/// The arguments of a report about this file, with further arguments.
fn report_of<'a>(source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&REPORT[..], &["--input", source], more].concat()
}

/// The facts of a file that is valid.
async fn facts(terminal: &CliHarness, name: &str, contents: &str, more: &[&str]) -> Result<Json> {
    terminal.write_file(name, contents)?;
    let source = format!("data_source=@{name}");
    let reply = terminal.run(&report_of(&source, more)).await?.expect_success()?;
    Ok(reply["outputs"]["facts"].clone())
}

#[tokio::test]
async fn inputs_that_are_missing_or_mistyped_are_named() -> Result<()> {
    let terminal = CliHarness::open()?;
    let with = |inputs: &[&'static str]| [&AGENT[..], inputs].concat();
    let cases = [
        (with(&[]), "missing_input", "`inputs.document` (text) is missing"),
        (
            with(&["--input", "document=x", "--input", "max_length=long"]),
            "invalid_input",
            "max_length must be an integer",
        ),
        (with(&["--input", "document=x", "--input", "max_length=5"]), "invalid_input", "must be at least 100, not 5"),
        (with(&["--input", "document=x", "--input", "dokument=x"]), "invalid_input", "no input `dokument`"),
        (with(&["--input", "document"]), "invalid_input", "is not NAME=VALUE"),
        (
            with(&["--input", "document=x", "--input", "document=y"]),
            "invalid_input",
            "given more than once, but is a text",
        ),
        (with(&["--input", "document=@nothing.txt"]), "path_not_allowed", "nothing.txt cannot be read"),
        (with(&["--input", "document=x", "--max-cost-usd", "-1"]), "invalid_request", "an amount is zero or more"),
        (with(&["--input", "document=x", "--max-cost-usd", "1,50"]), "invalid_request", "such as 1.50"),
        (with(&["--input", "document=x", "--max-cost-usd", "1e-9"]), "invalid_request", "six digits after the point"),
        (with(&["--input", "document=x", "--max-cost-usd", "NaN"]), "invalid_request", "not an amount of money"),
        (with(&["--input", "document=x", "--timeout", "-1"]), "invalid_request", "'--timeout <TIME>'"),
        (REPORT.to_vec(), "missing_input", "`inputs.data_source` (file) is missing"),
    ];
    for (words, code, text) in &cases {
        expect_refused(&terminal, &[(words, 2, code, text)]).await?;
    }
    // An error of clap has the same exit code.
    assert_eq!(terminal.run(&["run", "nonsense"]).await?.code, 2);
    assert_eq!(terminal.run(&["run", "agent", "Not An Id"]).await?.code, 2);
    terminal.write_file("latin.txt", b"caf\xe9")?;
    let latin = with(&["--input", "document=@latin.txt"]);
    expect_refused(&terminal, &[(&latin, 2, "invalid_input", "not UTF-8")]).await
}

#[tokio::test]
async fn an_unknown_name_is_rejected_with_the_closest_known_one() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n")?;
    let data = "data_source=@s.csv";
    let agent = "did you mean `executive_summary_agent`?";
    let workflow = "did you mean `generate_quarterly_report`?";
    let missing_run = "run_01a20413e77e73a6b7b41a8dc5d64000";
    expect_refused(
        &terminal,
        &[
            (&["run", "agent", "executive_summery_agent", "--input", "document=x"], 2, "unknown_agent", agent),
            (&["agents", "show", "executive_summery_agent"], 2, "unknown_agent", agent),
            (&["run", "workflow", "generate_quaterly_report", "--input", data], 2, "unknown_workflow", workflow),
            (&["workflows", "show", "generate_quaterly_report"], 2, "unknown_workflow", workflow),
            (&["run", "team", "report_teem", "--input", data], 2, "unknown_team", "did you mean `report_team`?"),
            (&["teams", "show", "zzz"], 2, "unknown_team", "there is no team `zzz`"),
            (&["runs", "show", missing_run], 2, "unknown_run", missing_run),
            (&["runs", "cancel", missing_run], 2, "unknown_run", missing_run),
            (&["audit", "show", "4711"], 2, "unknown_record", "4711"),
        ],
    )
    .await
}

#[tokio::test]
async fn an_invalid_cursor_is_named() -> Result<()> {
    let text = "`yesterday` is not a cursor";
    let cases: [(&[&str], _, _, _); 2] = [
        (&["runs", "list", "--after", "yesterday"], 2, "invalid_input", text),
        (&["audit", "list", "--after", "yesterday"], 2, "invalid_input", text),
    ];
    expect_refused(&CliHarness::open()?, &cases).await
}

#[tokio::test]
async fn a_document_of_more_than_ten_megabytes_is_denied_by_its_policy() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("large.txt", "A line of text.\n".repeat(10 * MEGABYTE / 16 + 1))?;
    let output = terminal.run(&[&AGENT[..], &["--input", "document=@large.txt"]].concat()).await?;
    let error = output.expect_error(3)?;
    assert_eq!(
        (&error["code"], &error["details"]["reasons"][0]["code"]),
        (&"policy_denied".into(), &"max_document_size_10mb".into())
    );
    assert_eq!(output.json()?["status"], "denied");
    // The policy allows a document below its limit.
    terminal.write_file("small.txt", "A line of text.\n".repeat(MEGABYTE / 16))?;
    let output = terminal.run(&[&AGENT[..], &["--input", "document=@small.txt"]].concat()).await?;
    assert_ne!(output.code, 3, "{output:?}");
    // The policy allows more than the model's context holds; then the error reports by how much.
    terminal.write_file("long.txt", "A line of text.\n".repeat(2 * MEGABYTE / 16))?;
    let output = terminal.run(&[&AGENT[..], &["--input", "document=@long.txt"]].concat()).await?;
    let error = output.expect_error(1)?;
    assert_eq!(error["code"], "context_overflow");
    let details = &error["details"];
    assert!(details["over"].as_u64().is_some_and(|over| over > 1_000_000), "{error:#}");
    assert_eq!(details["bytes"].as_u64(), details["over"].as_u64().map(|over| over + 1_048_576));
    Ok(())
}

#[tokio::test]
async fn a_broken_file_is_refused_with_its_line() -> Result<()> {
    let terminal = CliHarness::open()?;
    for (name, contents, text) in [
        ("ragged.csv", "day,sold\n2025-01-02,3\n2025-01-03\n", "line 3: the row has 1 cells"),
        ("wide.csv", "day,sold\n2025-01-02,3\n2025-01-03,3,4\n", "line 3: the row has 3 cells"),
        ("quote.csv", "day,sold\n2025-01-02,\"3\n2025-01-03,4\n", "line 2: a quoted cell"),
        ("empty.csv", "", "no rows"),
        ("header.csv", "day,sold\n", "no rows"),
        ("words.csv", "day,colour\n2025-01-02,red\n2025-01-03,blue\n", "no column of numbers"),
        ("broken.json", "[{\"day\": \"2025-01-02\", ", "line 1"),
        ("broken.jsonl", "{\"day\": \"2025-01-02\", \"sold\": 3}\n{\"day\":\n", "line 2"),
    ] {
        terminal.write_file(name, contents)?;
        let source = format!("data_source=@{name}");
        expect_refused(&terminal, &[(&report_of(&source, &[]), 1, "invalid_data", text)]).await.context(name)?;
    }
    terminal.write_file("bytes.csv", b"day,sold\n2025-01-02,\x81\n")?;
    expect_refused(
        &terminal,
        &[(
            &report_of("data_source=@bytes.csv", &[]),
            1,
            "invalid_data",
            "line 2: the file is not text: the byte 0x81",
        )],
    )
    .await?;
    // Every run is recorded with its outcome, and the hash chain is valid.
    let runs = terminal.run(&["runs", "list", "-o", "json"]).await?.expect_success()?;
    let statuses: Vec<_> = runs["runs"].as_array().into_iter().flatten().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["failed"; 9], "{runs:#}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn other_delimiters_and_a_missing_header_are_accepted() -> Result<()> {
    let terminal = CliHarness::open()?;
    for (name, contents) in [
        ("semicolons.csv", "day;sold;place\n01.02.2025;1.234,5;A\n15.03.2025;2,25;B\n"),
        ("tabs.csv", "day\tsold\tplace\n2025-02-01\t1234.5\tA\n2025-03-15\t2.25\tB\n"),
        ("pipes.csv", "day|sold|place\n2025-02-01|\"1,234.5\"|A\n2025-03-15|2.25|B\n"),
        (
            "quoted.csv",
            "\u{feff}\"day\",\"sold\",\"place\"\r\n2025-02-01,\"1,234.5\",\"A, \"\"B\"\"\"\r\n2025-03-15,2.25,C\r\n",
        ),
    ] {
        let facts = facts(&terminal, name, contents, &[]).await.context(name)?;
        let measure = &facts["measures"][0];
        assert_eq!((&measure["name"], measure["total"].as_f64()), (&"sold".into(), Some(1236.75)), "{name}: {facts:#}");
        assert_eq!(
            (&facts["period"]["from"], &facts["period"]["to"]),
            (&"2025-02-01".into(), &"2025-03-15".into()),
            "{name}"
        );
    }
    let facts = facts(&terminal, "bare.csv", "2025-02-01,4\n2025-03-15,6\n", &[]).await?;
    let measure = &facts["measures"][0];
    assert_eq!(
        (&facts["rows"], measure["total"].as_f64(), measure["growth_pct"].as_f64()),
        (&2.into(), Some(10.0), Some(50.0))
    );
    Ok(())
}

#[tokio::test]
async fn a_quarter_without_rows_is_rejected_with_the_range_of_the_file() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-28,4\n")?;
    for form in ["quarter=Q3 2023", "quarter=2023-Q3"] {
        let error = terminal.run(&report_of("data_source=@s.csv", &["--context", form])).await?.expect_error(1)?;
        assert_eq!(error["code"], "no_data_for_period", "{error:#}");
        assert_eq!((&error["details"]["from"], &error["details"]["to"]), (&"2025-01-02".into(), &"2025-02-28".into()));
    }
    let error =
        terminal.run(&report_of("data_source=@s.csv", &["--context", "quarter=Q5 2025"])).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["cause"]["code"]), (&"step_failed".into(), &"invalid_input".into()));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("`Q4 2024`")), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn no_path_leads_out_of_the_allowed_folder() -> Result<()> {
    let terminal = CliHarness::open()?;
    let files = terminal.data_dir().join("files");
    terminal.write_file("data/files/inside.csv", "day,sold\n2025-01-02,3\n")?;
    let outside = terminal.write_file("outside.csv", "day,sold\n2025-01-02,3\n")?;
    symlink(&outside, files.join("link.csv"))?;
    symlink(terminal.folder(), files.join("folder"))?;
    terminal.run(&report_of("data_source=inside.csv", &[])).await?.expect_success()?;
    let absolute = format!("data_source={}", outside.display());
    let mut errors = Vec::new();
    for source in [
        "data_source=/etc/passwd",
        &absolute,
        "data_source=../../outside.csv",
        "data_source=link.csv",
        "data_source=folder/outside.csv",
        "data_source=nothing.csv",
    ] {
        let error = terminal.run(&report_of(source, &[])).await?.expect_error(1)?;
        assert_eq!(error["details"]["cause"]["code"], "path_not_allowed", "{source}: {error:#}");
        errors.push(error);
    }
    // A file outside and a missing file yield the same error.
    assert!(errors.windows(2).all(|two| two[0] == two[1]), "{errors:#?}");
    Ok(())
}

#[tokio::test]
async fn text_that_looks_like_code_is_not_evaluated() -> Result<()> {
    let terminal = CliHarness::open()?;
    let hostile = "{{ 7 * 7 }} {% for x in range(9) %}x{% endfor %} ${inputs.max_length} {{ agent.name }}. The end.";
    let document = format!("document={hostile}");
    let reply = terminal.run(&[&AGENT[..], &["--input", &document]].concat()).await?.expect_success()?;
    let summary = reply["outputs"]["summary"].as_str().context("a summary")?;
    assert!(summary.starts_with(hostile), "{summary}");

    // In a file it can be the name of a column or a group, which every page of a report shows.
    let csv = "day,<script>alert(1)</script>,place\n2025-01-02,3,${context.quarter}\n2025-02-02,4,{{ 7 * 7 }}\n";
    terminal.write_file("s.csv", csv)?;
    let reply =
        terminal.run(&report_of("data_source=@s.csv", &["--context", "quarter=Q1 2025"])).await?.expect_success()?;
    let outputs = &reply["outputs"];
    assert_eq!(outputs["facts"]["measures"][0]["name"], "<script>alert(1)</script>", "{:#}", outputs["facts"]);
    let text = outputs["facts"].to_string();
    assert!(text.contains("${context.quarter}") && text.contains("{{ 7 * 7 }}") && !text.contains("49"), "{text}");
    // An input that imitates an artifact reference names no file outside the allowed folder.
    let words = report_of("data_source={\"$artifact\": {\"hash\": \"../../../etc/passwd\"}}", &[]);
    assert_ne!(terminal.run(&words).await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn every_invalid_definition_is_reported_with_its_location_at_once() -> Result<()> {
    let terminal = CliHarness::open()?;
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let step = |more: &str| format!("workflow_id: w\nname: W\nsteps:\n  - {{ id: a, agent: an_agent{more} }}\n");
    let nested = |depth: usize| format!(", when: \"{}true{}\"", "(".repeat(depth), ")".repeat(depth));
    let files: [(&str, Vec<u8>, &str); 8] = [
        ("bomb.yaml", bomb.into_bytes(), "too_large"),
        ("deep.yaml", format!("steps: {}", "[".repeat(20_000)).into_bytes(), "syntax"),
        ("bytes.yaml", b"workflow_id: \xff\xfe".to_vec(), "not_utf8"),
        ("large.yaml", vec![b'#'; 300 * 1024], "too_large"),
        ("field.yaml", format!("{}stepps: []\n", step("")).into_bytes(), "unknown_field"),
        ("no_agent.yaml", step("").into_bytes(), "unknown_reference"),
        ("cycle.yaml", step(", depends_on: [a]").into_bytes(), "cycle"),
        ("nested.yaml", step(&nested(5_000)).into_bytes(), "expression"),
    ];
    for (name, contents, _) in &files {
        terminal.write_file(&format!("wrong/workflows/{name}"), contents)?;
    }
    let output = terminal.run(&["definitions", "check", "wrong", "-o", "json"]).await?;
    assert_eq!(output.code, 2, "{output:?}");
    let report = output.json()?;
    let problems = report["problems"].as_array().context("problems")?;
    for (name, _, kind) in &files {
        let file = format!("workflows/{name}");
        let matches: Vec<_> = problems.iter().filter(|problem| problem["location"]["file"] == file).collect();
        assert!(matches.iter().any(|problem| problem["kind"] == *kind), "{name}: {kind}, not {matches:#?}");
    }
    let output = terminal.run(&["definitions", "check", "wrong", "-o", "table"]).await?;
    assert!(output.out.contains("workflows/no_agent.yaml:4:") && output.out.contains("error[cycle]"), "{output:?}");
    // The shipped definitions are valid, and a missing folder is not an empty catalogue.
    assert_eq!(terminal.run(&["definitions", "check"]).await?.code, 0);
    expect_refused(&terminal, &[(&["definitions", "check", "nowhere"], 2, "invalid_input", "nowhere")]).await
}
