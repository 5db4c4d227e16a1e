//! Reload: a running host activates a valid change on the disk without a restart, and quarantines or rejects an
//! invalid one; it reports both in the log and in the audit.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{CliHarness, CommandOutput, RunningCommand};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Json;
use greenroom_supervisor::reload::RELOAD_MAX;
use serde_json::json;

/// Bound of the wait for a change; longer than `RELOAD_MAX`, so that it only ends a test that hangs.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(20);
/// Time between two files of a copy, and the longest one; both less than the time for which a directory must not
/// change before it is loaded.
const COPY_INTERVAL: Duration = Duration::from_millis(150);
const COPY_PAUSE_MAX: Duration = Duration::from_millis(350);
/// Copies that may be too slow.
const COPIES_MAX: usize = 5;
const REJECTED: &str = "reload rejected, keeping the active version";
const APPLIED: &str = "reload activated";
/// The shipped bundle, and one that allows unknown actions.
pub(super) const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/bundle/guard.tar.gz");
const OPEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles/open.tar.gz");

/// Waits until the host has printed this text so many times.
async fn wait_for_count(up: &RunningCommand, text: &str, times: usize) -> Result<()> {
    let is_printed =
        || async { (up.err().matches(text).count() + up.out().matches(text).count() >= times).then_some(()) };
    let is_printed = wait_until(text, RELOAD_WAIT_MAX, is_printed).await;
    is_printed.with_context(|| format!("{}{}", up.out(), up.err()))
}

/// The shortest time between a change and its activation or rejection so far. A busy machine may delay some
/// changes, but not all of them.
fn quickest(up: &RunningCommand) -> Result<Duration> {
    let lines = up.err();
    let changes = lines.lines().filter(|line| line.contains(APPLIED) || line.contains(REJECTED));
    let durations = changes.filter_map(|line| serde_json::from_str::<Json>(line).ok()?["elapsed_ms"].as_u64());
    durations.min().map(Duration::from_millis).context("no line has the elapsed time")
}

/// Messages of the audit's system events on this subject, the newest first.
async fn system_events(terminal: &CliHarness, subject: &str) -> Result<Vec<String>> {
    let audit = terminal.run(&["audit", "list", "--limit", "200", "-o", "json"]).await?.expect_success()?;
    let events = audit["records"].as_array().into_iter().flatten().map(|record| &record["event"]);
    let messages = events.filter(|event| event["subject"] == subject).filter_map(|event| event["message"].as_str());
    Ok(messages.map(str::to_owned).collect())
}

async fn agent_description(terminal: &CliHarness) -> Result<Json> {
    let report = terminal.run(&["agents", "show", "echo_agent", "-o", "json"]).await?.expect_success()?;
    Ok(report["agent"]["description"].clone())
}

/// Lists the audit as the operator, which the shipped policy denies.
async fn list_audit_as_operator(terminal: &CliHarness) -> Result<CommandOutput> {
    terminal.run(&["audit", "list", "--user", "operator", "-o", "json"]).await
}

/// The shipped bundle, changed so that an operator may query the audit.
pub(super) fn bundle_with_wider_role() -> Result<Vec<u8>> {
    changed_bundle(|data| data["cfg"]["roles"]["agent_operator"]["anywhere"]["query_audit"] = json!(1))
}

/// The shipped bundle with edited data.
pub(super) fn changed_bundle(edit_data: impl Fn(&mut Json)) -> Result<Vec<u8>> {
    edited_bundle(SHIPPED, |name, contents| {
        if name != "data.json" {
            return Ok(contents);
        }
        let mut data: Json = serde_json::from_slice(&contents)?;
        edit_data(&mut data);
        Ok(serde_json::to_vec(&data)?)
    })
}

/// A bundle with edited files.
pub(super) fn edited_bundle(bundle: &str, edit: impl Fn(&str, Vec<u8>) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut packed = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut unpacked = tar::Archive::new(GzDecoder::new(fs::File::open(bundle)?));
    for entry in unpacked.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches('/').to_owned();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        let contents = edit(&name, contents)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o600);
        packed.append_data(&mut header, name, contents.as_slice())?;
    }
    Ok(packed.into_inner()?.finish()?)
}

/// Replaces a file atomically, as an editor or a deployment does.
fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, contents)?;
    Ok(fs::rename(beside, path)?)
}

/// Starts a host with definitions of its own: one agent that returns its input.
async fn start_host_with_echo_agent(options: &[&str]) -> Result<(CliHarness, DefinitionsDir, RunningCommand)> {
    let mut terminal = CliHarness::open()?;
    let folder = terminal.folder().join("definitions");
    let definitions = DefinitionsDir::new(&folder)?;
    definitions.write_echo_agent("echo_agent")?;
    terminal.add_options(&["--definitions", folder.to_str().context("a path of words")?]);
    let up = terminal.start(&[&["up"], options].concat())?;
    up.wait_for_output("greenroom is up").await?;
    Ok((terminal, definitions, up))
}

#[tokio::test]
async fn a_valid_definition_change_is_activated_and_an_invalid_one_is_quarantined() -> Result<()> {
    let (terminal, definitions, up) = start_host_with_echo_agent(&[]).await?;
    assert_eq!(agent_description(&terminal).await?, "Returns its input");

    let file = definitions.dir().join("agents/business_ops/echo_agent.yaml");
    let old = fs::read_to_string(&file)?;
    let edited = old.replace("Returns its input", "Repeats its input");
    fs::write(&file, &edited)?;
    wait_for_count(&up, APPLIED, 1).await?;
    assert_eq!(agent_description(&terminal).await?, "Repeats its input");
    definitions.write_echo_agent("another_agent")?;
    wait_for_count(&up, APPLIED, 2).await?;

    // The last valid version of an invalid file remains in service, and other changes are activated.
    fs::write(&file, edited.replace("Repeats its input", "Broken").replace("category:", "categori:"))?;
    wait_for_count(&up, APPLIED, 3).await?;
    definitions.write_echo_agent("third_agent")?;
    wait_for_count(&up, APPLIED, 4).await?;
    assert_eq!(agent_description(&terminal).await?, "Repeats its input");
    for agent in ["echo_agent", "another_agent", "third_agent"] {
        let words = ["run", "agent", agent, "--input", "text=still here", "-o", "json"];
        assert_eq!(terminal.run(&words).await?.expect_success()?["outputs"]["text"], "still here");
    }
    assert!(up.err().contains("invalid definition quarantined, its last valid version is in service"), "{}", up.err());
    let list = terminal.run(&["agents", "list", "-o", "json"]).await?.expect_success()?;
    let quarantined = &list["quarantined"][0];
    assert_eq!((&quarantined["id"], &quarantined["in_service"]), (&json!("echo_agent"), &json!(true)), "{list:#}");
    assert!(quarantined["problem"].as_str().is_some_and(|text| text.contains("echo_agent.yaml:")), "{list:#}");

    fs::write(&file, edited.replace("Repeats its input", "Mended"))?;
    wait_for_count(&up, APPLIED, 5).await?;
    assert_eq!(agent_description(&terminal).await?, "Mended");
    let list = terminal.run(&["agents", "list", "-o", "json"]).await?.expect_success()?;
    assert_eq!(list["quarantined"], json!([]));

    assert!(quickest(&up)? <= RELOAD_MAX, "{}", up.err());

    let messages = system_events(&terminal, "definitions").await?;
    assert!(messages.len() >= 5, "{messages:#?}");
    let is_named = |note: &String| note.contains("quarantined") && note.contains("echo_agent.yaml:");
    assert!(messages.iter().any(is_named), "the location is named: {messages:#?}");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn a_strict_host_rejects_a_reload_with_an_invalid_file() -> Result<()> {
    let (terminal, definitions, up) = start_host_with_echo_agent(&["--strict"]).await?;
    let file = definitions.dir().join("agents/business_ops/echo_agent.yaml");
    let old = fs::read_to_string(&file)?;
    definitions.write_echo_agent("another_agent")?;
    wait_for_count(&up, APPLIED, 1).await?;
    fs::write(&file, old.replace("category:", "categori:"))?;
    wait_for_count(&up, REJECTED, 1).await?;
    definitions.write_echo_agent("third_agent")?;
    wait_for_count(&up, REJECTED, 2).await?;
    let unknown = ["run", "agent", "third_agent", "--input", "text=not yet", "-o", "json"];
    assert_eq!(terminal.run(&unknown).await?.expect_error(2)?["code"], "unknown_agent");
    let messages = system_events(&terminal, "definitions").await?;
    assert!(
        messages.iter().any(|note| note.contains("rejected") && note.contains("echo_agent.yaml:")),
        "{messages:#?}"
    );
    Ok(())
}

/// Copies the files one after the other, slowly, but never with a pause in which the directory seems complete.
/// Returns false if the machine was too busy for that.
async fn copy_slowly(files: &[(PathBuf, Vec<u8>)]) -> Result<bool> {
    let mut ticks = tokio::time::interval(COPY_INTERVAL);
    let mut last = tokio::time::Instant::now();
    let mut longest = Duration::ZERO;
    for (path, content) in files {
        ticks.tick().await;
        fs::write(path, content)?;
        longest = longest.max(last.elapsed());
        last = tokio::time::Instant::now();
    }
    Ok(longest < COPY_PAUSE_MAX)
}

/// The files of a workflow and of twelve agents, the agent that the workflow calls last.
fn files_of_a_catalogue(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let source = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(source.path())?;
    definitions.write_row_workflow("copied_flow", "copied_12_agent", 1)?;
    for number in 1..=12 {
        definitions.write_echo_agent(&format!("copied_{number:02}_agent"))?;
    }
    let agents = (1..=12).map(|number| PathBuf::from(format!("agents/business_ops/copied_{number:02}_agent.yaml")));
    let files = std::iter::once(PathBuf::from("workflows/copied_flow.yaml")).chain(agents);
    files.map(|file| Ok((dir.join(&file), fs::read(source.path().join(&file))?))).collect()
}

#[tokio::test]
async fn a_directory_that_is_being_copied_is_loaded_once_when_it_is_complete() -> Result<()> {
    for _ in 0..COPIES_MAX {
        let (terminal, definitions, up) = start_host_with_echo_agent(&[]).await?;
        let files = files_of_a_catalogue(definitions.dir())?;
        if !copy_slowly(&files).await? {
            continue;
        }
        wait_for_count(&up, APPLIED, 1).await?;
        let list = terminal.run(&["agents", "list", "-o", "json"]).await?.expect_success()?;
        assert_eq!((list["agents"].as_array().map(Vec::len), &list["quarantined"]), (Some(13), &json!([])), "{list:#}");
        let words = ["run", "workflow", "copied_flow", "--input", "text=complete", "-o", "json"];
        assert_eq!(terminal.run(&words).await?.expect_success()?["status"], "success");
        // A part of the directory would have been activated before, with the workflow in quarantine.
        assert_eq!((up.err().matches(APPLIED).count(), up.err().contains("quarantined")), (1, false), "{}", up.err());
        return Ok(());
    }
    anyhow::bail!("the machine was too busy to copy the directory without a pause")
}

/// Mounts a version as a kubelet mounts a ConfigMap: flat files, links through `..data`, one rename.
fn mount(dir: &Path, number: u32, description: &str) -> Result<()> {
    let stamp = format!("..2026_01_01.{number}");
    fs::create_dir_all(dir.join(&stamp))?;
    let agent = format!(
        "agent_id: echo_agent\nname: Echo\ncategory: business_ops\ndescription: {description}\nversion: \"1.0.0\"\n\
         outputs: [{{ name: text, type: text }}]\nimplementation: {{ runtime: native, handler: native.echo }}\n"
    );
    fs::write(dir.join(&stamp).join("echo_agent.yaml"), agent)?;
    let previous = fs::read_link(dir.join("..data")).ok();
    symlink(&stamp, dir.join("..data_tmp"))?;
    fs::rename(dir.join("..data_tmp"), dir.join("..data"))?;
    if previous.is_none() {
        symlink("..data/echo_agent.yaml", dir.join("echo_agent.yaml"))?;
    }
    previous.map_or(Ok(()), |previous| Ok(fs::remove_dir_all(dir.join(previous))?))
}

#[tokio::test]
async fn every_swap_of_a_mounted_config_map_is_activated() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let dir = terminal.folder().join("mounted");
    mount(&dir, 0, "Version 0")?;
    terminal.add_options(&["--definitions", dir.to_str().context("a path of words")?]);
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    for number in 1..4 {
        let description = format!("Version {number}");
        mount(&dir, number, &description)?;
        wait_for_count(&up, APPLIED, number as usize).await?;
        assert_eq!(agent_description(&terminal).await?, description.as_str());
    }
    let list = terminal.run(&["agents", "list", "-o", "json"]).await?.expect_success()?;
    assert_eq!((list["agents"].as_array().map(Vec::len), &list["quarantined"]), (Some(1), &json!([])), "{list:#}");
    assert!(quickest(&up)? <= RELOAD_MAX, "{}", up.err());
    Ok(())
}

#[tokio::test]
async fn the_policies_of_a_new_bundle_are_known_without_a_restart() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let bundle = terminal.write_file("policy/guard.tar.gz", fs::read(SHIPPED)?)?;
    terminal.add_options(&["--policy", terminal.folder().join("policy").to_str().context("a path of words")?]);
    let folder = terminal.folder().join("definitions");
    let definitions = DefinitionsDir::new(&folder)?;
    definitions.write_echo_agent("other_agent")?;
    definitions.write_echo_agent("echo_agent")?;
    let file = folder.join("agents/business_ops/echo_agent.yaml");
    fs::write(
        &file,
        fs::read_to_string(&file)?.replace("[require_authentication", "[new_rule, require_authentication"),
    )?;
    terminal.add_options(&["--definitions", folder.to_str().context("a path of words")?]);
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    let error = terminal.run(&["agents", "show", "echo_agent", "-o", "json"]).await?.expect_error(2)?;
    assert!(error["message"].as_str().is_some_and(|text| text.contains("there is no policy `new_rule`")), "{error:#}");

    let with_rule = changed_bundle(|data| {
        data["cfg"]["policies"]["new_rule"] = data["cfg"]["policies"]["no_tools"].clone();
    })?;
    replace(&bundle, &with_rule)?;
    wait_for_count(&up, APPLIED, 2).await?;
    assert_eq!(agent_description(&terminal).await?, "Returns its input");
    Ok(())
}

#[tokio::test]
async fn an_agent_of_a_category_added_after_the_start_works() -> Result<()> {
    let (terminal, definitions, up) = start_host_with_echo_agent(&[]).await?;

    let file = definitions.dir().join("categories.yaml");
    let added = "\n  - id: space_exploration\n    name: Space\n    description: \"Rockets and orbits\"\n";
    replace(&file, format!("{}{added}", fs::read_to_string(&file)?.trim_end()).as_bytes())?;
    definitions.write_agent("orbit_agent", "space_exploration", "runtime: native\n  handler: native.echo")?;
    wait_for_count(&up, APPLIED, 1).await?;
    let words = ["run", "agent", "orbit_agent", "--input", "text=lift off", "-o", "json"];
    let done = wait_until("the new agent", RELOAD_WAIT_MAX, || async {
        terminal.run(&words).await.ok()?.expect_success().ok()
    });
    assert_eq!(done.await?["outputs"]["text"], "lift off");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn a_valid_policy_is_activated_and_an_invalid_one_is_rejected() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let bundle = terminal.write_file("policy/guard.tar.gz", fs::read(SHIPPED)?)?;
    terminal.add_options(&["--policy", terminal.folder().join("policy").to_str().context("a path of words")?]);
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    assert_eq!(list_audit_as_operator(&terminal).await?.expect_error(3)?["code"], "policy_denied");

    replace(&bundle, &bundle_with_wider_role()?)?;
    wait_for_count(&up, APPLIED, 1).await?;
    list_audit_as_operator(&terminal).await?.expect_success()?;

    // Garbage, half a bundle and a bundle that fails validation are rejected and reported, each also after
    // an invalid predecessor; the active policy is kept.
    let shipped = fs::read(SHIPPED)?;
    for (times, broken) in
        [b"not a bundle".as_slice(), &shipped[..shipped.len() / 2], &fs::read(OPEN)?].iter().enumerate()
    {
        replace(&bundle, broken)?;
        wait_for_count(&up, REJECTED, times + 1).await?;
        list_audit_as_operator(&terminal).await?.expect_success()?;
    }

    replace(&bundle, &shipped)?;
    wait_for_count(&up, APPLIED, 2).await?;
    assert_eq!(list_audit_as_operator(&terminal).await?.expect_error(3)?["code"], "policy_denied");

    // A removed bundle keeps the last one active.
    fs::remove_file(&bundle)?;
    wait_for_count(&up, REJECTED, 4).await?;
    assert_eq!(list_audit_as_operator(&terminal).await?.expect_error(3)?["code"], "policy_denied");
    assert!(quickest(&up)? <= RELOAD_MAX, "{}", up.err());
    let messages = system_events(&terminal, "policy").await?;
    assert!(messages.iter().any(|note| note.contains("is active")), "{messages:#?}");
    assert!(messages.iter().any(|note| note.contains("rejected")), "{messages:#?}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

#[tokio::test]
async fn a_host_does_not_start_with_invalid_files() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("definitions/agents/a.yaml", "agent_id: [")?;
    let refused = terminal.run(&["up", "--definitions", "definitions", "-o", "json"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "invalid_definition");
    terminal.write_file("policy/guard.tar.gz", "not a bundle")?;
    let refused = terminal.run(&["up", "--policy", "policy", "-o", "json"]).await?.expect_error(2)?;
    assert_eq!(refused["code"], "invalid_policy");
    Ok(())
}
