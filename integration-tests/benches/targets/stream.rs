//! What the pipeline adds to the first token: from the call of the client to the first piece of text,
//! beside the model alone. The model answers at once, so all that is measured is ours.

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

/// Answers that are measured.
const ANSWERS: usize = 2_000;

pub(crate) fn main(_: &[&str]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let definitions = tempfile::tempdir()?;
        let stagehand = DefinitionsDir::new(definitions.path())?;
        stagehand.model_agent("speaking_agent", "scripted.quick")?;
        let pieces = vec![r#"{"text":"#.to_owned(), r#""hello"}"#.to_owned()];
        let call = ScriptedCall { reply: ScriptedReply::Text { pieces, gap_ms: 1 }, ..ScriptedCall::default() };
        let scripted = Arc::new(Scripted::new(Script { calls: vec![call] }));
        let extras = Overrides { providers: vec![scripted], ..Overrides::default() };
        let rented = start_pod(StoreKind::Full, Some(stagehand.dir()), extras).await?;
        let front = rented.pod.ingress().clone();
        let invoke = Invoke {
            agent: AgentId::new("speaking_agent")?,
            inputs: text("say hello"),
            context: Values::new(),
            version: None,
            key: None,
            options: CallOptions::default(),
        };
        let mut took = Vec::with_capacity(ANSWERS);
        for _ in 0..ANSWERS {
            let (front, envelope) = (front.clone(), Envelope::of(Request::Invoke(invoke.clone())));
            let began = Instant::now();
            let (sink, mut shown) = mpsc::channel(16);
            let user = UserId::new("admin")?;
            let reply = tokio::spawn(async move { front.send_streaming(user, envelope, sink).await });
            shown.recv().await.context("nothing was shown")?;
            took.push(began.elapsed());
            let reply = reply.await?;
            ensure!(reply.status == Status::Success, "{:?}", reply.error);
        }
        let times: Latencies = took.into_iter().collect();
        record("stream", "first token through the pipeline, p50", times.millis(0.5), "ms", Threshold::AtMost(2.0))?;
        record("stream", "first token through the pipeline, p99", times.millis(0.99), "ms", Threshold::Informational)?;
        rented.pod.shutdown().await;
        Ok(())
    })
}
