//! `greenroom bridge` in a process of its own: HTTP in, NATS out.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use greenroom_integration_tests::wait::wait_until;

use crate::child_process::{ChildProcess, product};
use crate::http_connection::HttpConnection;
use crate::pod_folder::PodFolder;

/// The health of a bridge.
pub(crate) const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Bound of the start.
const START_MAX: Duration = Duration::from_secs(30);

/// A running bridge; dropping it ends the process.
pub(crate) struct RunningBridge {
    process: ChildProcess,
    addr: SocketAddr,
}

impl RunningBridge {
    /// Starts a bridge with the settings of these pods, and waits until one of them has replied to it.
    pub(crate) async fn start(folder: &PodFolder) -> anyhow::Result<Self> {
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = product(&["bridge"])?;
        folder.configure_in("bridge", &mut command);
        command.env("GREENROOM_HTTP_ADDR", addr.to_string());
        let process = ChildProcess::start(&mut command)?;
        let is_ready = || async {
            let response = HttpConnection::open(addr).await.ok()?.send(PING).await.ok()?;
            (response.status == 200).then_some(())
        };
        wait_until("the bridge is ready", START_MAX, is_ready).await?;
        Ok(Self { process, addr })
    }

    /// Where it listens.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The id of the process.
    pub(crate) fn process(&self) -> String {
        self.process.id()
    }
}
