//! Streams: the events of a run and the text of a model, over every interface that has them.

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use greenroom_client::{Client, Observation, Progress};
use greenroom_integration_tests::http_pod::{ADMIN_KEY, send_to};
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::up_process::UpProcess;

use super::budgets::{MODEL_AGENT, start_with_model};
use super::sse::{RunRow, numbers_and_kinds, rows};
use super::{ROW, detach, shared, wait_for_status};

/// A run that has ended, and its events.
async fn ended_run(up: &UpProcess) -> Result<(String, Vec<RunRow>)> {
    let run = detach(up, ROW).await?;
    wait_for_status(up, &run, "success").await?;
    let whole = rows(&up.get(&format!("/v1/runs/{run}/events")).await?.text())?;
    ensure!(whole.len() >= 6, "{whole:?}");
    Ok((run, whole))
}

/// The numbers of the events that a client observes.
async fn observed(client: &Client, run: &str) -> Result<Vec<u64>> {
    let observations: Vec<Observation> = client.run(run).watch().try_collect().await?;
    let numbers = observations.iter().filter_map(|observation| match observation {
        Observation::Event(event) => Some(event.seq),
        Observation::Text { .. } | Observation::Restarted { .. } => None,
    });
    Ok(numbers.collect())
}

#[tokio::test]
async fn the_events_of_a_run_are_the_same_over_http_and_nats() -> Result<()> {
    let up = shared().await?;
    let (run, whole) = ended_run(&up).await?;
    let numbers: Vec<u64> = whole.iter().map(|row| row.seq).collect();
    assert_eq!(observed(&up.nats(ADMIN_KEY).await?, &run).await?, numbers);
    assert_eq!(observed(&up.http(ADMIN_KEY)?, &run).await?, numbers);
    Ok(())
}

#[tokio::test]
async fn a_command_that_watches_a_run_prints_each_event_and_ends_with_the_run() -> Result<()> {
    let up = shared().await?;
    let (run, whole) = ended_run(&up).await?;
    let watched = up.terminal.run(&["runs", "watch", &run]).await?;
    assert_eq!((watched.code, watched.out.lines().count()), (0, whole.len()), "{watched:?}");
    Ok(())
}

#[tokio::test]
async fn a_reader_continues_after_the_last_event_that_it_has() -> Result<()> {
    let up = shared().await?;
    let (run, whole) = ended_run(&up).await?;
    // The events of one entry of the journal may share an id, and are continued after together.
    let last = whole.windows(2).position(|pair| pair[0].seq != pair[1].seq).context("two entries")?;
    let header = format!("Last-Event-ID: {}", whole[last].id);
    let watch = format!("GET /v1/runs/{run}/events");
    let rest = send_to(up.addr, &watch, Some(ADMIN_KEY), &[&header], "").await?;
    assert_eq!(numbers_and_kinds(&rows(&rest.text())?), numbers_and_kinds(&whole[last + 1..]));
    Ok(())
}

#[tokio::test]
async fn a_reader_that_has_every_event_is_not_to_connect_again() -> Result<()> {
    let up = shared().await?;
    let (run, whole) = ended_run(&up).await?;
    let header = format!("Last-Event-ID: {}", whole.last().context("events")?.id);
    let watch = format!("GET /v1/runs/{run}/events");
    assert_eq!(send_to(up.addr, &watch, Some(ADMIN_KEY), &[&header], "").await?.status, 204);
    Ok(())
}

#[tokio::test]
async fn a_token_reads_the_events_of_its_run_and_of_no_other() -> Result<()> {
    let up = shared().await?;
    let ((run, whole), (other, _)) = (ended_run(&up).await?, ended_run(&up).await?);
    let issued = up.post(&format!("/v1/runs/{run}/events-token"), &[], "").await?;
    assert_eq!(issued.status, 201, "{issued:?}");
    let url = issued.json()?["url"].as_str().context("a URL")?.to_owned();
    let read = send_to(up.addr, &format!("GET {url}"), None, &[], "").await?;
    assert_eq!(numbers_and_kinds(&rows(&read.text())?), numbers_and_kinds(&whole));
    let foreign = send_to(up.addr, &format!("GET {}", url.replace(&run, &other)), None, &[], "").await?;
    assert_eq!(foreign.status, 401, "{foreign:?}");
    Ok(())
}

#[tokio::test]
async fn a_reader_continues_with_a_new_token_and_gets_each_event_once() -> Result<()> {
    let up = shared().await?;
    let (run, whole) = ended_run(&up).await?;
    let issue = async || -> Result<String> {
        let issued = up.post(&format!("/v1/runs/{run}/events-token"), &[], "").await?;
        Ok(issued.json()?["url"].as_str().context("a URL")?.to_owned())
    };
    let (first, second) = (issue().await?, issue().await?);
    ensure!(first != second, "each token is another one");
    let read = rows(&send_to(up.addr, &format!("GET {first}"), None, &[], "").await?.text())?;
    // As if the first token were over after these events.
    let last = read.windows(2).position(|pair| pair[0].seq != pair[1].seq).context("two entries")?;
    let after = &read[last].id;
    let by_query = send_to(up.addr, &format!("GET {second}&after={after}"), None, &[], "").await?;
    let header = format!("Last-Event-ID: {after}");
    let by_header = send_to(up.addr, &format!("GET {second}"), None, &[&header], "").await?;
    for rest in [by_query, by_header] {
        let joined = [&read[..=last], &rows(&rest.text())?[..]].concat();
        assert_eq!(numbers_and_kinds(&joined), numbers_and_kinds(&whole));
    }
    let end = &read.last().context("events")?.id;
    let ended = send_to(up.addr, &format!("GET {second}&after={end}"), None, &[], "").await?;
    assert_eq!(ended.status, 204, "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn the_text_of_a_model_arrives_before_the_reply_over_the_network() -> Result<()> {
    let model = ScriptServer::start(|_| ServerBehavior::Good).await?;
    let up = start_with_model(&model, 200).await?;
    for client in [up.http(ADMIN_KEY)?, up.nats(ADMIN_KEY).await?] {
        let progress: Vec<Progress> = client.agent(MODEL_AGENT).input("text", "hello").stream().try_collect().await?;
        let has_text = |item: &Progress| matches!(item, Progress::Text(text) if !text.is_empty());
        ensure!(progress.iter().any(has_text), "{progress:?}");
        let is_reply = |item: &Progress| matches!(item, Progress::Reply(reply) if reply.outputs["text"] == "done");
        ensure!(progress.last().is_some_and(is_reply), "{progress:?}");
    }
    Ok(())
}
