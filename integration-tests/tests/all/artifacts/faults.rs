//! A pod whose S3 server is gone, slow, overloaded, cut off or has another time: each is a coded error within the
//! deadline, a metric and a log line, and the pod serves everything else meanwhile and all of it afterwards.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use greenroom_client::Client;
use greenroom_integration_tests::terminal::{CliHarness, CommandOutput, RunningCommand};
use greenroom_protocol::request::Query;
use greenroom_protocol::{Clock, ContentHash, Deadline, ErrorCode, Request, UserId};
use greenroom_supervisor::clock::WallClock;
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

use super::fault_proxy::{Fault, FaultProxy};
use super::{RUNNING, UP, s3_variables, terminal};
use crate::control::scrape;

/// A deadline that a test can wait for, and by far less than the bounds on the requests to S3.
const DEADLINE: Duration = Duration::from_secs(3);
/// No command with such a deadline takes longer, also on a busy machine.
const DEADLINE_MISSED: Duration = Duration::from_secs(30);
/// Bytes of an artifact whose reply takes many packets.
const LENGTH: usize = 3 * 1024 * 1024;
/// Bytes after which a reply is cut: a list is shorter, and no retry comes far.
const CUT: u64 = 100_000;

/// A running pod, its terminal and the address of its metrics.
struct PodWithS3 {
    terminal: CliHarness,
    up: RunningCommand,
    metrics: String,
}

impl PodWithS3 {
    /// Starts a pod whose S3 server has this address.
    async fn start(endpoint: String) -> Result<Self> {
        let [_, bucket, id, secret] = s3_variables()?;
        let mut terminal = terminal(&[("S3_ENDPOINT", endpoint), bucket, id, secret])?;
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        terminal.set_variable("GREENROOM_METRICS_ADDR", &metrics);
        let up = terminal.start(&UP)?;
        up.wait_for_output(RUNNING).await?;
        Ok(Self { terminal, up, metrics })
    }

    /// Stores a file that no other test has, and returns its hash.
    async fn store(&self, length: usize) -> Result<ContentHash> {
        let mut content = self.terminal.folder().display().to_string().into_bytes();
        content.resize(length, 0xff);
        self.terminal.write_file("note.bin", &content)?;
        // The request itself is rejected, because no agent takes such an input.
        self.terminal.run(&["run", "agent", "echo_agent", "--input", "text=@note.bin"]).await?.expect_error(2)?;
        Ok(ContentHash::from_content(&content))
    }

    async fn get(&self, hash: ContentHash) -> Result<CommandOutput> {
        self.terminal.run(&["artifacts", "get", &hash.to_string(), "--out", "copy.bin"]).await
    }

    /// Fails unless the metrics count this fault and the log has this message.
    async fn expect_reported(&self, fault: &str, message: &str) -> Result<()> {
        let counter = format!("artifact_store_failures{{fault=\"{fault}\"}} ");
        let page = scrape(&self.metrics)?;
        ensure!(page.contains(&counter) && !page.contains(&format!("{counter}0\n")), "{fault}: {page}");
        self.up.wait_for_output(message).await?;
        self.up.wait_for_output(fault).await
    }

    /// Ends the pod, which must not have printed the secret key.
    async fn end(self) -> Result<()> {
        let [.., (_, secret)] = s3_variables()?;
        assert!(!self.up.err().contains(&secret), "{}", self.up.err());
        self.up.terminate()?;
        assert_eq!(self.up.wait().await?.code, 0);
        Ok(())
    }
}

#[tokio::test]
async fn a_pod_without_its_s3_server_reports_it_and_serves_everything_else() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let pod = PodWithS3::start(format!("http://{free}")).await?;
    pod.terminal.run(&["run", "agent", "echo_agent", "--input", "text=hello"]).await?.expect_success()?;
    let error = pod.get(ContentHash::from_content(b"none")).await?.expect_error(3)?;
    // Policy needs to know whether the artifact exists, and denies what it does not know.
    let found = (&error["code"], &error["details"]["cause"], &error["details"]["store"]);
    assert_eq!(found, (&"policy_error".into(), &"store_unavailable".into(), &"s3_unreachable".into()));
    assert!(!pod.terminal.folder().join("copy.bin").exists());
    pod.expect_reported("s3_unreachable", "artifact store failed").await?;
    pod.end().await
}

#[tokio::test]
async fn each_fault_of_s3_is_a_coded_error_with_a_metric_and_a_log_line_and_passes() -> Result<()> {
    let proxy = FaultProxy::start(&s3_variables()?[0].1).await?;
    let pod = PodWithS3::start(proxy.url()).await?;
    let hash = pod.store(LENGTH).await?;
    let overloaded = Fault::Refuse { status: "503 Service Unavailable", code: "SlowDown" };
    for (fault, exit, code, store) in [
        (overloaded, 3, "policy_error", "s3_unavailable"),
        (Fault::ShiftTime, 3, "policy_error", "s3_clock_skewed"),
        // The list is complete, so policy knows what it needs; the content is not.
        (Fault::CutReplies(CUT), 1, "store_unavailable", "s3_truncated"),
    ] {
        proxy.set(fault);
        let error = pod.get(hash).await?.expect_error(exit).with_context(|| format!("{fault:?}"))?;
        assert_eq!((&error["code"], &error["details"]["store"]), (&code.into(), &store.into()), "{fault:?}: {error:#}");
        assert!(!pod.terminal.folder().join("copy.bin").exists(), "{fault:?}");
        pod.expect_reported(store, "artifact store failed").await?;
    }
    proxy.set(Fault::None);
    pod.get(hash).await?.expect_success()?;
    assert_eq!(fs::metadata(pod.terminal.folder().join("copy.bin"))?.len(), LENGTH as u64);
    pod.end().await
}

#[tokio::test]
async fn a_slow_s3_server_delays_no_request_beyond_its_deadline() -> Result<()> {
    let proxy = FaultProxy::start(&s3_variables()?[0].1).await?;
    let pod = PodWithS3::start(proxy.url()).await?;
    let hash = pod.store(2_000).await?;
    proxy.set(Fault::Hang);
    let started_at = Instant::now();
    let words = ["run", "agent", "echo_agent", "--input", "text=@note.bin", "--timeout", "3s"];
    let error = pod.terminal.run(&words).await?.expect_error(1)?;
    assert_eq!(error["code"], "timed_out", "an upload: {error:#}");
    let socket = ControlClient::new(&pod.terminal.data_dir().join(CONTROL_SOCKET), UserId::new("admin")?);
    let client = Client::new(Arc::new(socket));
    let query = Request::Query(Query::Artifact { hash, after: 0 });
    let reply = client.request(query).deadline(Deadline::after(WallClock.now(), DEADLINE)).send().await?;
    assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::TimedOut), "a query");
    assert!(started_at.elapsed() < DEADLINE_MISSED, "{:?}", started_at.elapsed());
    pod.expect_reported("abandoned", "artifact store did not reply in time").await?;
    // Nothing else waits for S3.
    pod.terminal.run(&["run", "agent", "echo_agent", "--input", "text=hello"]).await?.expect_success()?;
    proxy.set(Fault::None);
    pod.get(hash).await?.expect_success()?;
    pod.end().await
}
