//! One database has one owner at a time. Another command sends its request to the owner, waits for the end of
//! an owner that drains, or becomes the owner itself; it never fails only because of the other process.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness};
use greenroom_integration_tests::wait::wait_until;
use greenroom_supervisor::data_dir::DataDirLock;

const LIST: [&str; 4] = ["agents", "list", "-o", "json"];
const UP: [&str; 3] = ["up", "-o", "json"];
const RUNNING: &str = "greenroom is up";

#[tokio::test]
async fn forty_processes_on_a_new_data_directory_all_succeed() -> Result<()> {
    const PROCESSES: usize = 40;
    let terminal = CliHarness::open()?;
    let started: Vec<_> = (0..PROCESSES).map(|_| terminal.start(&LIST)).collect::<Result<_>>()?;
    let ended = try_join_all(started.into_iter().map(|process| process.wait())).await?;
    for output in &ended {
        let agents = output.expect_success()?["agents"].as_array().map(Vec::len);
        ensure!(agents.is_some_and(|count| count > 0), "{output:?}");
    }
    let verified = terminal.run(&["audit", "verify", "-o", "json"]).await?.expect_success()?;
    assert_eq!(verified["valid"], true, "{verified:#}");
    Ok(())
}

#[tokio::test]
async fn a_database_that_another_data_directory_uses_is_rejected_with_its_owner() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let mut other = CliHarness::open()?;
    let url = format!("sqlite:{}/shared.db", terminal.folder().display());
    for terminal in [&mut terminal, &mut other] {
        terminal.set_variable("DATABASE_URL", &url);
    }
    let up = terminal.start(&UP)?;
    up.wait_for_output(RUNNING).await?;
    for words in [&LIST[..], &UP, &["db", "check", "-o", "json"]] {
        let error = other.run(words).await?.expect_error(1)?;
        assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
        assert!(error["message"].as_str().is_some_and(|text| text.contains("shared.db")), "{error:#}");
    }
    // Another name of the same file is the same database.
    std::os::unix::fs::symlink(terminal.folder().join("shared.db"), other.folder().join("link.db"))?;
    other.set_variable("GREENROOM_STORE_URL", "sqlite:link.db");
    assert_eq!(other.run(&LIST).await?.expect_error(1)?["code"], "data_directory_in_use");
    terminal.run(&LIST).await?.expect_success()?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn a_removed_lock_file_makes_no_second_owner_and_no_socket_disappear() -> Result<()> {
    let terminal = CliHarness::open()?;
    let up = terminal.start(&UP)?;
    up.wait_for_output(RUNNING).await?;
    let (lock, socket) = (terminal.data_dir().join("greenroom.lock"), terminal.data_dir().join("control.sock"));
    for _ in 0..2 {
        fs::remove_file(&lock)?;
        let error = terminal.run(&UP).await?.expect_error(1)?;
        assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
        fs::remove_file(&lock)?;
        terminal.run(&LIST).await?.expect_success()?;
        assert!(socket.exists());
    }
    // Without its socket too, the owner still has the lock of its database.
    fs::remove_file(&socket)?;
    let error = terminal.run(&UP).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    terminal.run(&LIST).await?.expect_success()?;
    Ok(())
}

#[tokio::test]
async fn a_command_and_a_new_host_wait_for_an_owner_that_drains_and_take_over() -> Result<()> {
    let server = ScriptServer::start(|_| ServerBehavior::Slow(Duration::from_millis(1_500))).await?;
    let fixture = ModelFixture::with_openai(server.url())?;
    fixture.write_llm_agent("llm_agent", 60, 200)?;
    let terminal = &fixture.terminal;
    let (up, _client) = fixture.up().await?;
    let slow = terminal.start(&["run", "agent", "llm_agent", "--input", "text=hello"])?;
    let is_called = || async { (server.count() == 1).then_some(()) };
    wait_until("the model is called", COMMAND_WAIT_MAX, is_called).await?;
    up.terminate()?;
    let (waiting, successor) = (terminal.start(&["agents", "list"])?, terminal.start(&["up"])?);
    slow.wait().await?.expect_success()?;
    assert_eq!(up.wait().await?.code, 0);
    waiting.wait().await?.expect_success()?;
    // The command may have become the owner first; then the new host reports it, as any second host does.
    let has_decided = || async { (successor.err().contains(RUNNING) || !successor.out().is_empty()).then_some(()) };
    wait_until("the new host has started or reported the owner", COMMAND_WAIT_MAX, has_decided).await?;
    terminal.run(&["agents", "list"]).await?.expect_success()?;
    let verified = terminal.run(&["audit", "verify"]).await?.expect_success()?;
    assert_eq!(verified["valid"], true, "{verified:#}");
    Ok(())
}

#[tokio::test]
async fn a_command_reports_that_it_waits_for_an_owner_and_takes_over_at_its_end() -> Result<()> {
    let terminal = CliHarness::open()?;
    let lock = DataDirLock::acquire(&terminal.data_dir()).await?;
    let waiting = terminal.start(&LIST)?;
    waiting.wait_for_output(&format!("waiting for process {}", std::process::id())).await?;
    drop(lock);
    waiting.wait().await?.expect_success().context("the command takes over")?;
    Ok(())
}

#[tokio::test]
async fn an_option_that_the_owner_decides_has_a_warning() -> Result<()> {
    let terminal = CliHarness::open()?;
    let up = terminal.start(&UP)?;
    up.wait_for_output(RUNNING).await?;
    let data_dir = terminal.data_dir().display().to_string();
    let pod_options = ["--definitions", "elsewhere", "--policy", "elsewhere", "--strict"];
    let own_options = ["--user", "admin", "--data-dir", &data_dir];
    let listed = terminal.run(&[&LIST[..], &pod_options, &own_options].concat()).await?;
    listed.expect_success()?;
    for flag in pod_options.iter().filter(|word| word.starts_with("--")) {
        let warning = format!("warning: {flag} has no effect: the pod that owns {data_dir}");
        assert!(listed.err.contains(&warning), "{flag}: {listed:?}");
    }
    for flag in ["--user", "--data-dir"] {
        assert!(!listed.err.contains(&format!("{flag} has no effect")), "{listed:?}");
    }
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    // Without an owner, the command executes its request with these options itself.
    let error = terminal.run(&[&LIST[..], &pod_options].concat()).await?;
    assert!(error.code == 2 && !error.err.contains("has no effect"), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_settings_file_that_the_owner_overrides_has_a_warning_and_the_same_file_has_none() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.write_file("pod.toml", "[guard]\nworkers = 1\n")?;
    terminal.write_file("own.toml", "user = \"operator\"\n[guard]\nworkers = 1\n")?;
    terminal.write_file("other.toml", "[guard]\nworkers = 2\n")?;
    terminal.set_variable("OPENAI_API_KEY", "sk-test");
    let up = terminal.start(&[&UP[..], &["--config", "pod.toml"]].concat())?;
    up.wait_for_output(RUNNING).await?;
    // The owner alone has the key, as one that a service manager has started.
    terminal.set_variable("OPENAI_API_KEY", "");
    for options in [&["--config", "pod.toml"][..], &["--config", "own.toml"], &[]] {
        let listed = terminal.run(&[&LIST[..], options].concat()).await?;
        listed.expect_success()?;
        assert!(!listed.err.contains("have no effect"), "{listed:?}");
    }
    let data_dir = terminal.data_dir().display().to_string();
    let warning = format!("warning: the pod settings in other.toml have no effect: the pod that owns {data_dir}");
    let listed = terminal.run(&[&LIST[..], &["--config", "other.toml"]].concat()).await?;
    listed.expect_success()?;
    assert!(listed.err.contains(&warning), "{listed:?}");
    terminal.set_variable("GREENROOM_CONFIG", "other.toml");
    let listed = terminal.run(&LIST).await?;
    listed.expect_success()?;
    assert!(listed.err.contains(&warning), "{listed:?}");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    // Without an owner, the command executes its request with these settings itself.
    let listed = terminal.run(&LIST).await?;
    listed.expect_success()?;
    assert!(!listed.err.contains("have no effect"), "{listed:?}");
    Ok(())
}

#[tokio::test]
async fn a_data_directory_with_a_long_path_has_its_socket_in_the_runtime_directory() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let long = terminal.folder().join("l".repeat(100)).join("o".repeat(100));
    terminal.add_options(&["--data-dir", &long.display().to_string()]);
    let runtime_dir = terminal.folder().join("run");
    fs::create_dir(&runtime_dir)?;
    terminal.set_variable("XDG_RUNTIME_DIR", &runtime_dir.display().to_string());
    let up = terminal.start(&UP)?;
    up.wait_for_output(RUNNING).await?;
    // A command without the variable, as under another service manager, finds the socket through the directory.
    terminal.set_variable("XDG_RUNTIME_DIR", "");
    terminal.run(&LIST).await?.expect_success()?;
    let error = terminal.run(&UP).await?.expect_error(1)?;
    assert_eq!((&error["code"], &error["details"]["owner"]), (&"data_directory_in_use".into(), &up.id().into()));
    // A copy of the directory has no owner, although its link leads to this one.
    let copy = terminal.folder().join("copy").join("o".repeat(100));
    fs::create_dir_all(&copy)?;
    std::os::unix::fs::symlink(fs::read_link(long.join("control.sock"))?, copy.join("control.sock"))?;
    let mut other = CliHarness::open()?;
    other.add_options(&["--data-dir", &copy.display().to_string()]);
    let listed = other.run(&["audit", "list", "-o", "json"]).await?.expect_success()?;
    assert_eq!(listed["records"].as_array().map(Vec::len), Some(1), "the audit of the copy: {listed:#}");
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    assert!(long.join("control.sock").symlink_metadata().is_err());
    let sockets = fs::read_dir(&runtime_dir)?.next().context("a directory")??.path();
    assert_eq!(fs::read_dir(sockets)?.count(), 0);
    terminal.run(&LIST).await?.expect_success()?;
    Ok(())
}
