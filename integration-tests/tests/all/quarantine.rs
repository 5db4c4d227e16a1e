//! One invalid file does not take the others out of service: through the binary, at the start of a process.

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
use serde_json::json;

/// Definitions with a valid agent, an invalid one, and a workflow and a team that need the invalid one.
fn terminal() -> Result<CliHarness> {
    let mut terminal = CliHarness::open()?;
    let folder = terminal.folder().join("definitions");
    let definitions = DefinitionsDir::new(&folder)?;
    definitions.write_echo_agent("good_agent")?;
    definitions.write_agent("bad_agent", "no_category", "runtime: native\n  handler: native.echo")?;
    definitions.write_row_workflow("needs_bad", "bad_agent", 2)?;
    definitions.write_row_workflow("needs_good", "good_agent", 2)?;
    definitions.write_team("mixed", "team_id: mixed\nname: Mixed\nagents: [good_agent, bad_agent]\n")?;
    terminal.add_options(&["--definitions", folder.to_str().context("a path of words")?]);
    Ok(terminal)
}

#[tokio::test]
async fn everything_but_the_invalid_file_and_what_needs_it_is_in_service() -> Result<()> {
    let terminal = terminal()?;
    for words in [["run", "agent", "good_agent"], ["run", "workflow", "needs_good"]] {
        let output = terminal.run(&[&words[..], &["--input", "text=hello", "-o", "json"]].concat()).await?;
        assert!(output.err.contains("invalid definition quarantined, it is out of service"), "{}", output.err);
        assert!(output.err.contains("bad_agent.yaml"), "{}", output.err);
        output.expect_success()?;
    }
    let problem =
        "agents/no_category/bad_agent.yaml:3:11: error[unknown_reference]: there is no category `no_category`";
    for words in [
        ["run", "agent", "bad_agent"],
        ["agents", "show", "bad_agent"],
        ["run", "workflow", "needs_bad"],
        ["workflows", "show", "needs_bad"],
        ["run", "team", "mixed"],
        ["teams", "show", "mixed"],
    ] {
        let input: &[&str] = if words[0] == "run" { &["--input", "text=hello"] } else { &[] };
        let input = if words[1] == "team" { [input, &["--workflow", "needs_good"]].concat() } else { input.to_vec() };
        let error = terminal.run(&[&words[..], &input, &["-o", "json"]].concat()).await?.expect_error(2)?;
        let message = error["message"].as_str().unwrap_or_default();
        assert!(error["code"] == "invalid_definition" && message.contains(problem), "{words:?}: {error:#}");
    }
    Ok(())
}

#[tokio::test]
async fn the_lists_and_the_check_show_what_is_quarantined() -> Result<()> {
    let terminal = terminal()?;
    for (kind, id, valid) in [("agents", "bad_agent", 1), ("workflows", "needs_bad", 1), ("teams", "mixed", 0)] {
        let list = terminal.run(&[kind, "list", "-o", "json"]).await?.expect_success()?;
        assert_eq!(list[kind].as_array().map(Vec::len), Some(valid), "{list:#}");
        let quarantined = &list["quarantined"];
        assert_eq!(quarantined.as_array().map(Vec::len), Some(1), "{list:#}");
        assert_eq!((&quarantined[0]["id"], &quarantined[0]["in_service"]), (&json!(id), &json!(false)), "{list:#}");
        let table = terminal.run(&[kind, "list", "-o", "table"]).await?;
        assert!(table.out.contains("QUARANTINED") && table.out.contains(id), "{}", table.out);
    }
    let check = terminal.run(&["definitions", "check", "-o", "json"]).await?;
    assert_eq!((check.code, check.json()?["quarantined"].as_array().map(Vec::len)), (2, Some(3)), "{check:?}");
    let check = terminal.run(&["definitions", "check", "-o", "table"]).await?;
    assert!(check.out.contains("quarantined: the workflow `needs_bad` is out of service"), "{}", check.out);
    Ok(())
}

#[tokio::test]
async fn a_strict_process_does_not_start_with_an_invalid_file() -> Result<()> {
    let mut terminal = terminal()?;
    let words = ["run", "agent", "good_agent", "--input", "text=hello", "-o", "json"];
    let error = terminal.run(&[&words[..], &["--strict"]].concat()).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_definition");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("bad_agent.yaml:3:11")), "{error:#}");
    terminal.set_variable("GREENROOM_DEFINITIONS_STRICT", "true");
    assert_eq!(terminal.run(&words).await?.expect_error(2)?["code"], "invalid_definition");
    Ok(())
}

#[tokio::test]
async fn one_file_is_checked_against_the_configured_folder() -> Result<()> {
    let terminal = terminal()?;
    let file = "definitions/workflows/needs_good.yaml";
    let report = terminal.run(&["definitions", "check", file, "-o", "json"]).await?.expect_success()?;
    let problems = report["problems"].as_array().expect("a list");
    assert!(problems.iter().all(|problem| problem["severity"] == "warning"), "{report:#}");
    let text = std::fs::read_to_string(terminal.folder().join(file))?.replace("good_agent", "gone_agent");
    terminal.write_file("candidate.yaml", text)?;
    let report = terminal.run(&["definitions", "check", "candidate.yaml", "-o", "json"]).await?;
    assert_eq!(report.code, 2);
    assert!(report.out.contains("did you mean `good_agent`?"), "{}", report.out);
    Ok(())
}

/// Whether the list shows this definition as quarantined, and whether its last valid version is in service.
async fn quarantined(terminal: &CliHarness, kind: &str, id: &str) -> Result<Option<bool>> {
    let list = terminal.run(&[kind, "list", "-o", "json"]).await?.expect_success()?;
    let quarantined = list["quarantined"].as_array().context("a list")?;
    Ok(quarantined.iter().find(|one| one["id"] == id).and_then(|one| one["in_service"].as_bool()))
}

#[tokio::test]
async fn the_last_valid_version_is_in_service_after_a_restart() -> Result<()> {
    let terminal = terminal()?;
    let file = "definitions/agents/business_ops/good_agent.yaml";
    let words = ["run", "agent", "good_agent", "--input", "text=hello", "-o", "json"];
    terminal.run(&words).await?.expect_success()?;
    let valid = std::fs::read_to_string(terminal.folder().join(file))?;
    // Each process that starts with the broken file passes the version on to the next one, also if no other definition
    // is valid.
    for broken in [valid.replace("native.echo", "native.ecko"), "agent_id: [".to_owned(), String::new()] {
        terminal.write_file(file, broken)?;
        for _ in 0..2 {
            let output = terminal.run(&words).await?;
            assert!(output.err.contains("its last valid version is in service"), "{}", output.err);
            assert!(output.err.contains("good_agent.yaml"), "{}", output.err);
            assert_eq!(output.expect_success()?["outputs"]["text"], "hello");
        }
        assert_eq!(quarantined(&terminal, "agents", "good_agent").await?, Some(true));
        terminal.run(&["workflows", "show", "needs_good"]).await?.expect_success()?;
    }
    let strict = terminal.run(&[&words[..], &["--strict"]].concat()).await?.expect_error(2)?;
    assert_eq!(strict["code"], "invalid_definition", "{strict:#}");
    terminal.write_file(file, valid)?;
    assert_eq!(quarantined(&terminal, "agents", "good_agent").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_version_of_another_directory_or_of_a_removed_file_is_not_in_service_after_a_restart() -> Result<()> {
    let terminal = terminal()?;
    DefinitionsDir::new(&terminal.folder().join("definitions"))?.write_echo_agent("spare_agent")?;
    let file = terminal.folder().join("definitions/agents/business_ops/good_agent.yaml");
    let words = ["run", "agent", "good_agent", "--input", "text=hello", "-o", "json"];
    terminal.run(&words).await?.expect_success()?;
    let valid = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    assert_eq!(terminal.run(&words).await?.expect_error(2)?["code"], "unknown_agent");
    // The file was removed on purpose: a broken one with its id is a new file.
    std::fs::write(&file, valid.replace("native.echo", "native.ecko"))?;
    assert_eq!(terminal.run(&words).await?.expect_error(2)?["code"], "invalid_definition");

    std::fs::write(&file, valid)?;
    terminal.run(&words).await?.expect_success()?;
    let mut other = CliHarness::open()?;
    let folder = other.folder().join("definitions");
    let definitions = DefinitionsDir::new(&folder)?;
    definitions.write_agent("good_agent", "no_category", "runtime: native\n  handler: native.echo")?;
    definitions.write_echo_agent("another_agent")?;
    let data_dir = terminal.data_dir();
    let (folder, data_dir) = (folder.to_str().context("words")?, data_dir.to_str().context("words")?);
    other.add_options(&["--definitions", folder, "--data-dir", data_dir]);
    assert_eq!(other.run(&words).await?.expect_error(2)?["code"], "invalid_definition");
    Ok(())
}
