//! A Redis that a pod cannot use, from its start on or suddenly: each failure has a code, a metric and a line of the
//! log, nothing waits without a bound, and no run ends for it.

use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use greenroom_protocol::{Cause, Clock as _, Deadline, ErrorCode};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_serve_refuses_the_start_of_a_pod() -> Result<()> {
    let servers: [(&[&'static str], &str, &str); 5] = [
        (&[], "stranger:hunter2@", "redis_rejected"),
        (&["--requirepass", "hunter2"], "", "redis_rejected"),
        (&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"], "", "redis_evicting"),
        (&["--rename-command", "FUNCTION", ""], "", "redis_no_functions"),
        (&["--replicaof", "127.0.0.1", "1"], "", "redis_read_only"),
    ];
    for (options, user, kind) in servers {
        let server = RedisServer::start_with(options).await?;
        let folder = tempfile::tempdir()?;
        let mut config = config(folder.path(), StoreKind::Memory, &server, OnRedisLoss::Local)?;
        let url = server.url().replace("redis://", &format!("redis://{user}"));
        config.redis = Some(RedisConfig { url: Secret::new(url), ca_file: None, on_loss: OnRedisLoss::Local });
        let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await;
        let cause = pod.err().with_context(|| kind.to_owned())?;
        assert_eq!((cause.code, &cause.details["store"]), (ErrorCode::StoreUnavailable, &kind.into()), "{cause}");
        assert!(!format!("{cause:?}").contains("hunter2"), "{cause:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_denies_requests_with_its_reason_or_leaves_them_to_the_pod_and_ends_no_run() -> Result<()> {
    for (kind, failure, repair) in [
        ("redis_read_only", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("redis_full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("redis_evicting", "CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru", "CONFIG SET maxmemory 0"),
        ("redis_rejected", "ACL SETUSER default -fcall", "ACL SETUSER default +fcall"),
    ] {
        let server = RedisServer::start().await?;
        let ((deny, _folder), (local, _other)) =
            (start(&server, OnRedisLoss::Deny).await?, start(&server, OnRedisLoss::Local).await?);
        let (denied_client, client) = (admin(&deny)?, admin(&local)?);
        let run = start_team(&client).await?;
        assert_eq!(call_agent(&denied_client).await?.error, None);
        server.command(failure)?;
        // A policy of eviction is noticed after a moment, everything else at once.
        let denial = || async { call_agent(&denied_client).await.ok()?.error };
        expect_denied(&wait_until(kind, WAIT_MAX, denial).await?, kind);
        assert!(has_counted(&deny, kind), "{}", deny.metrics().render());
        let counted = || async {
            assert_eq!(call_agent(&client).await.ok()?.error, None);
            has_counted(&local, kind).then_some(())
        };
        wait_until(kind, WAIT_MAX, counted).await?;
        expect_context(&client, &run).await?;
        finish(&client, &run).await?;
        server.command(repair)?;
        wait_served(&denied_client).await?;
        deny.shutdown().await;
        local.shutdown().await;
    }
    Ok(())
}

fn expect_denied(cause: &Cause, kind: &str) {
    assert_eq!(cause.code, ErrorCode::PolicyError, "{cause:?}");
    assert_eq!(cause.details["reasons"][0]["code"], "fact_unavailable", "{cause:?}");
    assert_eq!((&cause.details["cause"], &cause.details["store"]), (&"store_unavailable".into(), &kind.into()));
}

/// True if the metrics have a failure of this kind.
fn has_counted(pod: &Pod, kind: &str) -> bool {
    let name = format!("redis_failures{{error=\"{kind}\"}} ");
    pod.metrics().render().lines().any(|line| line.strip_prefix(&name).is_some_and(|count| count != "0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_server_a_pod_denies_the_requests_of_users_until_it_is_back() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let (pod, _folder) = start(&server, OnRedisLoss::Deny).await?;
    let client = admin(&pod)?;
    let run = start_team(&client).await?;
    server.kill()?;
    expect_denied(&call_agent(&client).await?.error.context("a denial")?, "redis_unreachable");
    expect_denied(&read_context(&client, &run).await?.error.context("a denial")?, "redis_unreachable");
    assert!(has_counted(&pod, "redis_unreachable"), "{}", pod.metrics().render());
    server.restart().await?;
    wait_served(&client).await?;
    finish(&client, &run).await?;
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_server_delays_requests_until_their_deadline_at_most_and_ends_no_run() -> Result<()> {
    let server = RedisServer::start().await?;
    let (pod, _folder) = start(&server, OnRedisLoss::Local).await?;
    let client = admin(&pod)?;
    let run = start_team(&client).await?;
    server.set_suspended(true)?;
    let deadline = Deadline::after(WallClock.now(), Duration::from_millis(300));
    let reply = client.agent(AGENT).inputs(&text("x")).deadline(deadline).send().await?;
    assert_eq!((reply.status, reply.error.map(|cause| cause.code)), (Status::TimedOut, Some(ErrorCode::TimedOut)));
    let work = async {
        expect_context(&client, &run).await?;
        finish(&client, &run).await
    };
    tokio::time::timeout(WAIT_MAX, work).await.context("the run waits for a server that does not reply")??;
    server.set_suspended(false)?;
    let run = start_team(&client).await?;
    expect_context(&client, &run).await?;
    finish(&client, &run).await?;
    pod.shutdown().await;
    Ok(())
}

/// Waits until the log has a line with this field and value.
async fn wait_logged(up: &RunningCommand, field: &str, value: &str) -> Result<()> {
    let is_logged = || async {
        let log = up.err();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.any(|line| line[field] == value).then_some(())
    };
    wait_until(value, COMMAND_WAIT_MAX, is_logged).await.with_context(|| up.err())
}

#[tokio::test]
async fn the_log_has_the_first_failure_of_the_server_and_its_return() -> Result<()> {
    let server = RedisServer::start().await?;
    let mut terminal = CliHarness::open()?;
    terminal.set_variable("REDIS_URL", &server.url());
    let up = terminal.start(&["up", "-o", "json"])?;
    up.wait_for_output("greenroom is up").await?;
    let agent = ["run", "agent", "executive_summary_agent", "--input", "document=x"];
    terminal.run(&agent).await?.expect_success()?;
    server.command("REPLICAOF 127.0.0.1 1")?;
    let error = terminal.run(&agent).await?.expect_error(3)?;
    assert_eq!((&error["code"], &error["details"]["store"]), (&"policy_error".into(), &"redis_read_only".into()));
    wait_logged(&up, "redis.error", "redis_read_only").await?;
    server.command("REPLICAOF NO ONE")?;
    terminal.run(&agent).await?.expect_success()?;
    wait_logged(&up, "message", "redis is available again").await?;
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    Ok(())
}
