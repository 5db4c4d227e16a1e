//! Measures requests over NATS: how many a governed pod serves, compared with a responder that does nothing; calls between
//! pods; durable workflows, compared with Restate; and the first token of a stream.
//!
//! Each part is a process of its own, which is the load program: pods, responder and server of NATS are other processes. Two
//! parts host what they measure: `remote_calls`, whose both transports are in one process, and `first_token`, which compares
//! a pod in its process with the same pod over NATS, read by another process.

mod dispatch;
mod first_token;
mod remote_calls;
mod workflows;

use tokio::runtime::Runtime;

/// The name of the group.
const GROUP: &str = "nats";
/// The parts in their order.
const PARTS: [&str; 5] = ["dispatch", "dispatch_postgres", "remote_calls", "workflows", "first_token"];

pub(crate) fn main(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [] => PARTS.into_iter().try_for_each(|part| super::run_separately(&[GROUP, part])),
        ["dispatch"] => one_thread()?.block_on(dispatch::on_sqlite()),
        ["dispatch_postgres"] => one_thread()?.block_on(dispatch::on_postgres()),
        ["respond", url] => one_thread()?.block_on(dispatch::respond(url)),
        ["remote_calls"] => all_threads()?.block_on(remote_calls::compare()),
        ["workflows"] => workflows::compare(&one_thread()?),
        ["first_token"] => all_threads()?.block_on(first_token::compare()),
        ["read_tokens", url] => one_thread()?.block_on(first_token::read(url)),
        other => anyhow::bail!("no part is named {}", other.join(" ")),
    }
}

/// The runtime of a load program, which shares the processors with what it measures.
pub(crate) fn one_thread() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The runtime of a part that hosts what it measures.
pub(crate) fn all_threads() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
