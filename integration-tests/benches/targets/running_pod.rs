//! `greenroom up` in a process of its own, with the default settings except for those that a benchmark sets.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::UserId;
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

use crate::program;

/// Variables of other programs that are settings of the product too.
const FOREIGN_VARIABLES: [&str; 3] = ["DATABASE_URL", "REDIS_URL", "S3_BUCKET"];
/// Bound of the start of the pod.
const START_MAX: Duration = Duration::from_secs(30);

/// A running pod; dropping it ends the process.
pub(crate) struct RunningPod {
    child: Child,
    socket: ControlClient,
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RunningPod {
    /// Starts a pod in this data directory, which exists, and waits until it accepts requests.
    pub(crate) async fn start(data_dir: &Path, configure: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let mut command = Command::new(program("greenroom")?);
        // The product rejects unknown variables with its own prefix.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GREENROOM_")) {
            command.env_remove(name);
        }
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        command.arg("up").env("GREENROOM_DATA_DIR", data_dir).env("GREENROOM_METRICS_ADDR", "off");
        command.env("GREENROOM_HTTP_ADDR", "off");
        configure(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let socket = ControlClient::new(&data_dir.join(CONTROL_SOCKET), UserId::new("admin")?);
        let pod = Self { child, socket };
        let socket = &pod.socket;
        wait_until("the pod accepts requests", START_MAX, async || socket.identify().await.ok()).await?;
        Ok(pod)
    }

    /// Its control socket, for the administrator.
    pub(crate) const fn socket(&self) -> &ControlClient {
        &self.socket
    }

    /// The id of the process.
    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }
}
