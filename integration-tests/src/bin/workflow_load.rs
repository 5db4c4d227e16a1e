//! Sends five-step workflows to a running pod over its control socket, from a process of its own:
//! `workflow_load DATA_DIR SECONDS LEVEL…` keeps so many in flight and prints one line of JSON for each level.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use greenroom_client::Client;
use greenroom_integration_tests::closed_loop;
use greenroom_protocol::UserId;
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: workflow_load DATA_DIR SECONDS LEVEL…";
    let [data_dir, seconds, levels @ ..] = words.as_slice() else { anyhow::bail!(usage) };
    let duration = Duration::from_secs(seconds.parse().context(usage)?);
    // One thread: the load program shares the cores with what it measures.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = ControlClient::new(&Path::new(data_dir).join(CONTROL_SOCKET), UserId::new("admin")?);
        let client = Client::new(Arc::new(socket));
        for level in levels {
            let in_flight = level.parse().context(usage)?;
            let level = closed_loop::run("greenroom over its socket", &client, in_flight, duration).await?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&level)?)?;
        }
        Ok(())
    })
}
