//! Measures `greenroom up` by its socket, with the load program in a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use greenroom_integration_tests::closed_loop::{self, Level};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::UserId;
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

use super::peers::load_levels;
use crate::program;

/// Bound of the start of the pod.
const START_MAX: Duration = Duration::from_secs(30);

/// A running pod; dropping it ends the process.
struct RunningPod(Child);

impl Drop for RunningPod {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures every level on one pod with the default settings, except for the hourly limit of requests, which
/// a benchmark exceeds in a minute.
pub(super) async fn levels() -> anyhow::Result<Vec<Level>> {
    let folder = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(&folder.path().join("definitions"))?;
    closed_loop::write_definitions(&definitions_dir)?;
    let data_dir = folder.path().join("data");
    std::fs::create_dir_all(&data_dir)?;
    let settings = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nrate_limit = 1000000000\n";
    let settings_path = folder.path().join("greenroom.toml");
    std::fs::write(&settings_path, settings)?;
    let _pod = start(&settings_path, definitions_dir.dir(), &data_dir).await?;
    load_levels(Command::new(program("workflow_load")?).arg(&data_dir))
}

async fn start(settings: &Path, definitions: &Path, data_dir: &Path) -> anyhow::Result<RunningPod> {
    let mut command = Command::new(program("greenroom")?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
        command.env_remove(name);
    }
    command.args(["up", "--config"]).arg(settings).arg("--definitions").arg(definitions);
    command.env("GREENROOM_DATA_DIR", data_dir).env("GREENROOM_METRICS_ADDR", "off");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pod = RunningPod(child);
    let socket = ControlClient::new(&data_dir.join(CONTROL_SOCKET), UserId::new("admin")?);
    wait_until("the pod accepts requests", START_MAX, async || socket.identify().await.ok()).await?;
    Ok(pod)
}
