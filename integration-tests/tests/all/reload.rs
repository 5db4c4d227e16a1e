//! What is changed on the disk is in force in a running host, without a restart; what is broken is
//! not, and both are said: in the log, and in the audit.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::{CliHarness, CommandOutput, RunningCommand};
use greenroom_integration_tests::wait::until;
use greenroom_protocol::Json;
use greenroom_supervisor::reload::RELOAD_MAX;
use serde_json::json;

/// What a change may take, on a machine that does nothing else; here it only ends a test that hangs.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(20);
const REFUSED: &str = "change refused, the last good version stays in force";
const TAKEN: &str = "change is in force";
/// The shipped bundle, and one that lets through what it knows nothing of.
pub(super) const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/bundle/guard.tar.gz");
const OPEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles/open.tar.gz");

/// Waits until the host has said this so many times.
async fn said(up: &RunningCommand, text: &str, times: usize) -> Result<()> {
    let heard = || async { (up.err().matches(text).count() + up.out().matches(text).count() >= times).then_some(()) };
    let heard = until(text, RELOAD_WAIT_MAX, heard).await;
    heard.with_context(|| format!("{}{}", up.out(), up.err()))
}

/// How long after the first touch the quickest of the changes so far was in force or refused. The
/// machine may be busy with other things, but not each time.
fn quickest(up: &RunningCommand) -> Result<Duration> {
    let lines = up.err();
    let told = lines.lines().filter(|line| line.contains(TAKEN) || line.contains(REFUSED));
    let took = told.filter_map(|line| serde_json::from_str::<Json>(line).ok()?["elapsed_ms"].as_u64());
    took.min().map(Duration::from_millis).context("no line says how long it took")
}

/// The notes of the audit on this subject, the newest first.
async fn noted(terminal: &CliHarness, subject: &str) -> Result<Vec<String>> {
    let audit = terminal.run(&["audit", "list", "--limit", "200", "-o", "json"]).await?.done()?;
    let events = audit["records"].as_array().into_iter().flatten().map(|record| &record["event"]);
    let notes = events.filter(|event| event["subject"] == subject).filter_map(|event| event["message"].as_str());
    Ok(notes.map(str::to_owned).collect())
}

async fn described(terminal: &CliHarness) -> Result<Json> {
    let shown = terminal.run(&["agents", "show", "echo_agent", "-o", "json"]).await?.done()?;
    Ok(shown["agent"]["description"].clone())
}

/// The operator looks at the audit, which the shipped policy leaves to others.
async fn by_operator(terminal: &CliHarness) -> Result<CommandOutput> {
    terminal.run(&["audit", "list", "--user", "operator", "-o", "json"]).await
}

/// The shipped bundle, but that an operator may look at the audit.
fn widened() -> Result<Vec<u8>> {
    changed(|data| data["cfg"]["roles"]["agent_operator"]["anywhere"]["query_audit"] = json!(1))
}

/// The shipped bundle with other data in it.
pub(super) fn changed(change: impl Fn(&mut Json)) -> Result<Vec<u8>> {
    let mut packed = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut shipped = tar::Archive::new(GzDecoder::new(fs::File::open(SHIPPED)?));
    for entry in shipped.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_start_matches('/').to_owned();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        if name == "data.json" {
            let mut data: Json = serde_json::from_slice(&contents)?;
            change(&mut data);
            contents = serde_json::to_vec(&data)?;
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o600);
        packed.append_data(&mut header, name, contents.as_slice())?;
    }
    Ok(packed.into_inner()?.finish()?)
}

/// Puts a file in the place of another at once, as an editor or a deployment does.
fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, contents)?;
    Ok(fs::rename(beside, path)?)
}

/// A host with definitions of its own: one agent that gives back what it is given.
async fn up_with_an_echo() -> Result<(CliHarness, DefinitionsDir, RunningCommand)> {
    let mut terminal = CliHarness::open()?;
    let definitions = terminal.folder().join("definitions");
    let state = DefinitionsDir::new(&definitions)?;
    state.echo_agent("echo_agent")?;
    terminal.always(&["--definitions", definitions.to_str().context("a path of words")?]);
    let up = terminal.start(&["up"])?;
    up.says("greenroom is up").await?;
    Ok((terminal, state, up))
}

#[tokio::test]
async fn a_changed_definition_is_in_force_and_a_broken_one_is_not() -> Result<()> {
    let (terminal, state, up) = up_with_an_echo().await?;
    assert_eq!(described(&terminal).await?, "Gives back what it was given");

    let file = state.dir().join("agents/business_ops/echo_agent.yaml");
    let old = fs::read_to_string(&file)?;
    let changed = old.replace("Gives back what it was given", "Says it once more");
    fs::write(&file, &changed)?;
    said(&up, TAKEN, 1).await?;
    assert_eq!(described(&terminal).await?, "Says it once more");

    // A broken file changes nothing, whatever is changed beside it.
    fs::write(&file, changed.replace("Says it once more", "Broken").replace("category:", "categori:"))?;
    said(&up, REFUSED, 1).await?;
    state.echo_agent("another_agent")?;
    said(&up, REFUSED, 2).await?;
    assert_eq!(described(&terminal).await?, "Says it once more");
    let words = ["run", "agent", "echo_agent", "--input", "text=still here", "-o", "json"];
    assert_eq!(terminal.run(&words).await?.done()?["outputs"]["text"], "still here");
    let unknown = ["run", "agent", "another_agent", "--input", "text=not yet", "-o", "json"];
    assert_eq!(terminal.run(&unknown).await?.refused(2)?["code"], "unknown_agent");

    fs::write(&file, changed.replace("Says it once more", "Mended"))?;
    said(&up, TAKEN, 2).await?;
    assert_eq!(described(&terminal).await?, "Mended");
    assert_eq!(terminal.run(&unknown).await?.done()?["outputs"]["text"], "not yet");

    assert!(quickest(&up)? <= RELOAD_MAX, "{}", up.err());

    let notes = noted(&terminal, "definitions").await?;
    assert!(notes.len() >= 4, "{notes:#?}");
    let refusals: Vec<_> = notes.iter().filter(|note| note.contains("refused")).collect();
    assert!(refusals.iter().any(|note| note.contains("echo_agent.yaml:")), "the place is named: {notes:#?}");
    up.terminate()?;
    assert_eq!(up.ended().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn an_agent_of_a_category_that_was_not_there_at_the_start_works() -> Result<()> {
    let (terminal, state, up) = up_with_an_echo().await?;

    let file = state.dir().join("categories.yaml");
    let added = "\n  - id: space_exploration\n    name: Space\n    description: \"Rockets and orbits\"\n";
    replace(&file, format!("{}{added}", fs::read_to_string(&file)?.trim_end()).as_bytes())?;
    state.agent("orbit_agent", "space_exploration", "runtime: native\n  handler: native.echo")?;
    said(&up, TAKEN, 1).await?;
    let words = ["run", "agent", "orbit_agent", "--input", "text=lift off", "-o", "json"];
    let done = until("the new agent", RELOAD_WAIT_MAX, || async {
        let said = terminal.run(&words).await.ok()?;
        said.done().ok()
    });
    assert_eq!(done.await?["outputs"]["text"], "lift off");
    up.terminate()?;
    assert_eq!(up.ended().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn a_changed_policy_is_in_force_and_a_broken_one_is_not() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let bundle = terminal.file("policy/guard.tar.gz", fs::read(SHIPPED)?)?;
    terminal.always(&["--policy", terminal.folder().join("policy").to_str().context("a path of words")?]);
    let up = terminal.start(&["up"])?;
    up.says("greenroom is up").await?;
    assert_eq!(by_operator(&terminal).await?.refused(3)?["code"], "policy_denied");

    replace(&bundle, &widened()?)?;
    said(&up, TAKEN, 1).await?;
    by_operator(&terminal).await?.done()?;

    // Neither garbage nor half a bundle nor one that fails its trial takes the policy in force away,
    // and each is reported, however broken the one before was.
    let shipped = fs::read(SHIPPED)?;
    for (times, broken) in
        [b"not a bundle".as_slice(), &shipped[..shipped.len() / 2], &fs::read(OPEN)?].iter().enumerate()
    {
        replace(&bundle, broken)?;
        said(&up, REFUSED, times + 1).await?;
        by_operator(&terminal).await?.done()?;
    }

    replace(&bundle, &shipped)?;
    said(&up, TAKEN, 2).await?;
    assert_eq!(by_operator(&terminal).await?.refused(3)?["code"], "policy_denied");

    // A bundle that is taken away leaves the last one in force.
    fs::remove_file(&bundle)?;
    said(&up, REFUSED, 4).await?;
    assert_eq!(by_operator(&terminal).await?.refused(3)?["code"], "policy_denied");
    assert!(quickest(&up)? <= RELOAD_MAX, "{}", up.err());
    let notes = noted(&terminal, "policy").await?;
    assert!(notes.iter().any(|note| note.contains("is in force")), "{notes:#?}");
    assert!(notes.iter().any(|note| note.contains("refused")), "{notes:#?}");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.done()?["holds"], true);
    Ok(())
}

#[tokio::test]
async fn a_host_does_not_start_with_what_is_broken() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.file("definitions/agents/a.yaml", "agent_id: [")?;
    let refused = terminal.run(&["up", "--definitions", "definitions", "-o", "json"]).await?.refused(2)?;
    assert_eq!(refused["code"], "invalid_definition");
    terminal.file("policy/guard.tar.gz", "not a bundle")?;
    let refused = terminal.run(&["up", "--policy", "policy", "-o", "json"]).await?.refused(2)?;
    assert_eq!(refused["code"], "invalid_policy");
    Ok(())
}
