//! `greenroom runpod …`: the worker, the scaler and the deployment of RunPod. The crate `greenroom-runpod` implements them; here
//! they are connected with a pod, a store and the terminal.

mod deploy;
mod host;
mod scale;
mod worker;

use greenroom_protocol::Cause;
use greenroom_runpod::secret::SecretText;

use super::args::RunpodCommand;
use super::output::Output;
use crate::config::Config;
use crate::lifecycle::Signals;

pub use host::HostProof;

/// The variable with the key of the account.
const API_KEY: &str = "RUNPOD_API_KEY";

/// Executes the command.
///
/// # Errors
/// The cause that ends it.
pub async fn runpod(
    config: Config,
    command: RunpodCommand,
    output: Output,
    signals: &mut Signals,
) -> Result<u8, Cause> {
    match command {
        RunpodCommand::Worker(arguments) => Box::pin(worker::worker(config, arguments, output, signals)).await,
        RunpodCommand::Scale(arguments) => Box::pin(scale::scale(config, arguments, output, signals)).await,
        RunpodCommand::Deploy(arguments) => {
            super::interruptible(deploy::deploy(arguments, output), output, signals).await
        }
        RunpodCommand::Status(arguments) => {
            super::interruptible(deploy::status(arguments, output), output, signals).await
        }
    }
}

/// The value of a variable of the environment, which RunPod sets.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The key of the account, which may be absent.
fn api_key() -> SecretText {
    SecretText::new(variable(API_KEY).unwrap_or_default())
}
