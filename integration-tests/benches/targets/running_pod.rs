//! `greenroom up` in a process of its own, with the default settings except for those that a benchmark sets.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::UserId;
use greenroom_supervisor::data_dir::CONTROL_SOCKET;
use greenroom_supervisor::ingress::control::client::ControlClient;

use crate::child_process::{ChildProcess, product};

/// Bound of the start of the pod.
const START_MAX: Duration = Duration::from_secs(30);

/// A running pod; dropping it ends the process.
pub(crate) struct RunningPod {
    process: ChildProcess,
    socket: ControlClient,
}

impl RunningPod {
    /// Starts a pod in this data directory, which exists, and waits until it accepts requests.
    pub(crate) async fn start(data_dir: &Path, configure: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let mut command = product(&["up"])?;
        command.env("GREENROOM_DATA_DIR", data_dir);
        configure(&mut command);
        let process = ChildProcess::start(&mut command)?;
        let socket = ControlClient::new(&data_dir.join(CONTROL_SOCKET), UserId::new("admin")?);
        let pod = Self { process, socket };
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
        self.process.id()
    }
}
