//! Definitions that one pod applies: the others are woken, and do not wait for their next tick.

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::UserId;
use greenroom_protocol::request::Maintenance;
use tokio::time::timeout;

use super::{Pods, WAIT_MAX, metric};

const SENT: &str = "nats_wake_ups{event=\"sent\"}";
const RECEIVED: &str = "nats_wake_ups{event=\"received\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_pod_applies_wakes_the_other_ones() -> Result<()> {
    let pods = Pods::start("generations").await?;
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("applied"))?;
    let from = definitions.dir().to_str().context("a path of words")?.to_owned();
    let client = pods.plain.client(&UserId::new("admin")?);
    assert_eq!((metric(&pods.plain, SENT), metric(&pods.gpu, RECEIVED)), (0.0, 0.0), "there is no run");
    // The first wake-up may be before the other pod listens to them.
    let applied = async {
        let mut number = 0;
        while metric(&pods.gpu, RECEIVED) == 0.0 {
            number += 1;
            definitions.write_echo_agent(&format!("echo_{number}_agent"))?;
            let reply = client.maintain(Maintenance::ApplyDefinitions { from: from.clone() }).await?;
            ensure!(reply.error.is_none(), "{reply:?}");
            let is_active = || async { (pods.gpu.active_generations().catalogue == number).then_some(()) };
            wait_until("the definitions are active on the other pod", WAIT_MAX, is_active).await?;
        }
        anyhow::Ok(())
    };
    timeout(WAIT_MAX, applied).await??;
    ensure!(metric(&pods.plain, SENT) > 0.0, "the pod that has applied them has sent it");
    Ok(())
}
