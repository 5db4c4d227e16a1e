//! The client of the pod's own process: it streams what a model writes, as the clients over NATS and HTTP do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt as _;
use greenroom_client::Progress;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_protocol::{ErrorCode, Status};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::compose::Overrides;
use tokio::time::timeout;

const WAIT_MAX: Duration = Duration::from_secs(60);
const PIECES: [&str; 3] = ["{\"text\": \"one ", "two ", "three\"}"];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_within_the_process_receives_the_text_piece_by_piece_and_then_the_reply() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(folder.path())?;
    definitions.write_model_agent("talker_agent", "scripted.talk")?;
    let reply = ScriptedReply::Text { pieces: PIECES.map(str::to_owned).into(), gap_ms: 1 };
    let model = Scripted::new(Script { calls: vec![ScriptedCall { reply, ..ScriptedCall::default() }] });
    let overrides = Overrides { providers: vec![Arc::new(model)], ..Overrides::default() };
    let test_pod = start_pod(StoreKind::Memory, Some(definitions.dir()), overrides).await?;
    let admin = test_pod.admin()?;

    let progress = admin.agent("talker_agent").input("text", "x").stream();
    let mut progress: Vec<Progress> = timeout(WAIT_MAX, progress.try_collect()).await??;
    let Some(Progress::Reply(reply)) = progress.pop() else { anyhow::bail!("{progress:?}") };
    assert_eq!(reply.status, Status::Success, "{:?}", reply.error);
    assert_eq!(progress, PIECES.map(|piece| Progress::Text(piece.to_owned())));

    let progress = admin.agent("unknown_agent").input("text", "x").stream();
    let progress: Vec<Progress> = timeout(WAIT_MAX, progress.try_collect()).await??;
    let [Progress::Reply(rejected)] = progress.as_slice() else { anyhow::bail!("{progress:?}") };
    assert_eq!(rejected.error.as_ref().map(|cause| cause.code), Some(ErrorCode::UnknownAgent));
    test_pod.pod.shutdown().await;
    Ok(())
}
