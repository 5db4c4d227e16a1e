//! HTTP of the program itself: the address, the refusals of a start, the commands of the documents, and a bridge that is
//! replaced while a client reads.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use greenroom_client::http::HttpOptions;
use greenroom_client::{Client, Credential, Observation};
use greenroom_integration_tests::http_pod::exchange;
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::terminal::{CliHarness, RunningCommand};
use greenroom_protocol::RunId;
use greenroom_protocol::event::RunEventKind;

use super::{APPROVED, WAIT_MAX, definitions};

const UP: &str = "greenroom is up";

/// An address of this machine that nothing listens on.
pub(super) fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

pub(super) async fn up(terminal: &mut CliHarness, addr: &str) -> Result<RunningCommand> {
    terminal.set_variable("GREENROOM_HTTP_ADDR", addr);
    let up = terminal.start(&["up"])?;
    up.wait_for_output(UP).await?;
    Ok(up)
}

#[tokio::test]
async fn up_serves_http_and_a_second_one_at_the_same_port_is_refused_by_name() -> Result<()> {
    let (mut terminal, addr) = (CliHarness::open()?, free_address()?);
    let running = up(&mut terminal, &addr).await?;
    let ping = exchange(addr.parse()?, b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    assert_eq!(ping.status, 200);
    ensure!(running.err().contains("DEVELOPMENT"), "{}", running.err());
    let mut second = CliHarness::open()?;
    second.set_variable("GREENROOM_HTTP_ADDR", &addr);
    let error = second.run(&["up"]).await?;
    assert_eq!(error.code, 2, "{error:?}");
    ensure!(format!("{error:?}").contains(&addr) && format!("{error:?}").contains("GREENROOM_HTTP_ADDR"), "{error:?}");
    running.terminate()?;
    assert_eq!(running.wait().await?.code, 0);
    Ok(())
}

#[tokio::test]
async fn an_address_of_other_machines_is_refused_unless_users_have_keys() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("GREENROOM_HTTP_ADDR", "0.0.0.0:0");
    let refused = terminal.run(&["up"]).await?;
    assert_eq!(refused.code, 2, "{refused:?}");
    ensure!(format!("{refused:?}").contains("configure identities"), "{refused:?}");
    terminal.write_file("greenroom.toml", "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\napi_key = \"key\"\n")?;
    let up = terminal.start(&["up"])?;
    up.wait_for_output(UP).await?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}

/// The commands of `curl` in a section of a document.
fn curl_commands(text: &'static str, section: &str) -> Result<Vec<&'static str>> {
    let (_, rest) = text.split_once(section).with_context(|| format!("no section {section:?}"))?;
    let section = rest.split("\n## ").next().unwrap_or_default();
    let commands = section.lines().filter_map(|line| line.strip_prefix("$ "));
    Ok(commands.filter(|command| command.starts_with("curl ")).collect())
}

#[tokio::test]
async fn the_commands_of_the_documents_work_as_they_are_printed() -> Result<()> {
    let (mut terminal, addr) = (CliHarness::open()?, free_address()?);
    let _running = up(&mut terminal, &addr).await?;
    for (text, section) in [
        (include_str!("../../../../README.md"), "\n## Over HTTP\n"),
        (include_str!("../../../../docs/http.md"), "\n## With curl\n"),
    ] {
        let commands = curl_commands(text, section)?;
        ensure!(commands.len() >= 3, "{commands:?}");
        for command in commands {
            let command = command.replace("127.0.0.1:8000", &addr);
            let output = terminal.run_shell(&command).await?;
            ensure!(output.code == 0 && !output.out.contains("urn:greenroom:error"), "{command}: {output:?}");
            let expected = ["\"outputs\"", "\"hash\"", "event: reply"];
            ensure!(expected.iter().any(|text| output.out.contains(text)), "{command}: {output:?}");
        }
    }
    Ok(())
}

/// Starts a bridge at this address, and waits until it is ready.
async fn bridge(terminal: &CliHarness, addr: &str) -> Result<RunningCommand> {
    let bridge = terminal.start(&["bridge", "-o", "table"])?;
    bridge.wait_for_output("greenroom bridge is up").await?;
    let ready = || async {
        let request = b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        exchange(addr.parse().ok()?, request).await.ok().filter(|response| response.status == 200)
    };
    greenroom_integration_tests::wait::wait_until("the bridge is ready", WAIT_MAX, ready).await?;
    Ok(bridge)
}

#[tokio::test]
async fn the_bridge_of_a_load_balancing_endpoint_listens_on_the_ports_of_its_worker() -> Result<()> {
    let server = NatsServer::start().await?;
    let mut fixture = ModelFixture::with_openai("http://127.0.0.1:9")?;
    server.configure(&mut fixture.terminal)?;
    let (_pod, _) = fixture.up().await?;
    // The default of the setting, as in a container.
    fixture.terminal.set_variable("GREENROOM_HTTP_ADDR", "");
    let (requests, health) = (free_address()?, free_address()?);
    for (name, addr) in [("PORT", &requests), ("PORT_HEALTH", &health)] {
        let port = addr.rsplit(':').next().context("a port")?;
        fixture.terminal.set_variable(name, port);
    }
    fixture.terminal.set_variable("RUNPOD_ENDPOINT_ID", "ep123");
    let bridge = bridge(&fixture.terminal, &health).await?;
    let ping = exchange(requests.parse()?, b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await?;
    assert_eq!(ping.status, 200);
    bridge.terminate()?;
    assert_eq!(bridge.wait().await?.code, 0, "both listeners end");
    Ok(())
}

#[tokio::test]
async fn a_client_reads_every_event_once_while_its_bridge_is_replaced() -> Result<()> {
    let (server, addr) = (NatsServer::start().await?, free_address()?);
    let mut fixture = ModelFixture::with_openai("http://127.0.0.1:9")?;
    server.configure(&mut fixture.terminal)?;
    let (definitions, _folder) = definitions()?;
    fixture.terminal.set_variable("GREENROOM_DEFINITIONS", &definitions.dir().display().to_string());
    let (_pod, _) = fixture.up().await?;
    fixture.terminal.set_variable("GREENROOM_HTTP_ADDR", &addr);
    let first_bridge = bridge(&fixture.terminal, &addr).await?;
    let credential = Credential::ApiKey("planted-key-of-admin".to_owned());
    let client = Client::connect_http(&format!("http://{addr}"), HttpOptions::default().credential(credential))?;
    let accepted = client.workflow(APPROVED).detach().timeout(Duration::from_secs(30)).reply().await?;
    let run = RunId::new(accepted.id)?;
    let mut observations = client.run(&run).watch();
    let first = observations.next().await.context("an event")??;
    // A process that is dropped is killed.
    drop(first_bridge);
    let _second_bridge = bridge(&fixture.terminal, &addr).await?;
    client.run(&run).approve("sign").timeout(WAIT_MAX).reply().await?;
    let rest = tokio::time::timeout(WAIT_MAX, observations.try_collect::<Vec<_>>()).await??;
    let numbers: Vec<u64> = std::iter::once(&first)
        .chain(&rest)
        .filter_map(|observation| match observation {
            Observation::Event(event) => Some(event.seq),
            Observation::Text { .. } | Observation::Restarted { .. } => None,
        })
        .collect();
    ensure!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    let ended = |one: &Observation| matches!(one, Observation::Event(event) if matches!(event.kind, RunEventKind::RunEnded { .. }));
    ensure!(rest.last().is_some_and(ended), "{rest:?}");
    Ok(())
}
