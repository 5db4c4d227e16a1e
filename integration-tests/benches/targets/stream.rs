//! Measures the latency that the pipeline adds to the first token: from the client's call to the first
//! piece of text. The scripted model answers without delay, so the measured time is the platform's.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use greenroom_integration_tests::bench::{Latencies, Threshold, record};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod, text};
use greenroom_protocol::request::{CallOptions, Invoke};
use greenroom_protocol::{AgentId, Envelope, Request, Status, UserId, Values};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use tokio::sync::mpsc;

/// Measured executions.
const EXECUTIONS: usize = 2_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let definitions = tempfile::tempdir()?;
        let definitions_dir = DefinitionsDir::new(definitions.path())?;
        definitions_dir.write_model_agent("streaming_agent", "scripted.quick")?;
        let pieces = vec![r#"{"text":"#.to_owned(), r#""hello"}"#.to_owned()];
        let call = ScriptedCall { reply: ScriptedReply::Text { pieces, gap_ms: 1 }, ..ScriptedCall::default() };
        let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
        let overrides = Overrides { providers: vec![scripted], ..Overrides::default() };
        let test_pod = start_pod(StoreKind::Full, Some(definitions_dir.dir()), overrides).await?;
        let ingress = test_pod.pod.ingress().clone();
        let invoke = Invoke {
            agent: AgentId::new("streaming_agent")?,
            inputs: text("say hello"),
            context: Values::new(),
            version: None,
            key: None,
            options: CallOptions::default(),
            approvals: None,
        };
        let mut durations = Vec::with_capacity(EXECUTIONS);
        for _ in 0..EXECUTIONS {
            let (ingress, envelope) = (ingress.clone(), Envelope::new(Request::Invoke(invoke.clone())));
            let started_at = Instant::now();
            let (sink, mut deltas) = mpsc::channel(16);
            let user = UserId::new("admin")?;
            let reply = tokio::spawn(async move { ingress.send_streaming(user, envelope, sink).await });
            deltas.recv().await.context("no text was streamed")?;
            durations.push(started_at.elapsed());
            let reply = reply.await?;
            ensure!(reply.status == Status::Success, "{:?}", reply.error);
        }
        let times: Latencies = durations.into_iter().collect();
        record("stream", "first token through the pipeline, p50", times.millis(0.5), "ms", Threshold::AtMost(2.0))?;
        record("stream", "first token through the pipeline, p99", times.millis(0.99), "ms", Threshold::Informational)?;
        test_pod.pod.shutdown().await;
        Ok(())
    })
}
