//! What tests do to the process of a server: signals, and the wait until it listens.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::ensure;

use crate::wait::wait_until;

/// Longest wait for a server that starts, or for its reply.
pub(crate) const SERVER_WAIT_MAX: Duration = Duration::from_secs(30);

/// Sends a signal, such as `STOP`, to the process of this id.
///
/// # Errors
/// If it has ended already.
pub fn send_signal(process: u32, name: &str) -> anyhow::Result<()> {
    let id = process.to_string();
    let signalled = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &id]).status()?;
    ensure!(signalled.success(), "the process {id} has ended already");
    Ok(())
}

/// Suspends a server, or resumes it. The system accepts connections for a suspended one, and nothing replies.
pub(crate) fn set_suspended(server: &Child, suspended: bool) -> anyhow::Result<()> {
    send_signal(server.id(), if suspended { "STOP" } else { "CONT" })
}

/// Ends a server, and waits for its end.
pub(crate) fn kill(server: &mut Child) -> anyhow::Result<()> {
    server.kill()?;
    server.wait()?;
    Ok(())
}

/// Waits until something listens at a port of the loopback address.
pub(crate) async fn wait_listening(name: &str, port: u16) -> anyhow::Result<()> {
    let probe = || async { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop) };
    wait_until(&format!("{name} listens"), SERVER_WAIT_MAX, probe).await
}
