//! A terminal whose commands call a scripted model: definitions of its own, and the address of a server.

use std::sync::Arc;

use greenroom_client::Client;
use greenroom_protocol::UserId;
use greenroom_supervisor::ingress::control::client::ControlClient;

use crate::definitions_dir::DefinitionsDir;
use crate::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use crate::wait::wait_until;

/// The API key that every command sends to the model's server.
pub const MODEL_KEY: &str = "sk-planted-8c1f4ad97e";

/// A terminal, and the definitions that its commands read.
#[derive(Debug)]
pub struct ModelFixture {
    /// Runs the commands.
    pub terminal: CliHarness,
    /// The definitions that the commands read; a test adds to them.
    pub definitions: DefinitionsDir,
}

impl ModelFixture {
    /// Sends every tier to the server at this address over OpenAI's API.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn with_openai(url: &str) -> anyhow::Result<Self> {
        let mut fixture = Self::open()?;
        fixture.terminal.set_variable("OPENAI_BASE_URL", url);
        fixture.terminal.set_variable("OPENAI_MODEL", "scripted-model");
        fixture.terminal.set_variable("OPENAI_API_KEY", MODEL_KEY);
        Ok(fixture)
    }

    /// Sends Anthropic's models to the server at this address.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn with_anthropic(url: &str) -> anyhow::Result<Self> {
        let mut fixture = Self::open()?;
        fixture.terminal.set_variable("ANTHROPIC_BASE_URL", url);
        fixture.terminal.set_variable("ANTHROPIC_API_KEY", MODEL_KEY);
        Ok(fixture)
    }

    /// Configures the provider `custom` with this address and this API in `greenroom.toml`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn with_custom_provider(url: &str, api: &str) -> anyhow::Result<Self> {
        let fixture = Self::open()?;
        let table = format!(
            "[[providers]]\nname = \"custom\"\napi = \"{api}\"\napi_key = \"{MODEL_KEY}\"\nbase_url = \"{url}\"\n"
        );
        fixture.terminal.write_file("greenroom.toml", table)?;
        Ok(fixture)
    }

    fn open() -> anyhow::Result<Self> {
        let mut terminal = CliHarness::open()?;
        let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
        terminal.set_variable("GREENROOM_DEFINITIONS", &definitions.dir().display().to_string());
        Ok(Self { terminal, definitions })
    }

    /// Writes an agent that sends its `text` to the standard tier, with a timeout in seconds and a limit of
    /// the tokens of one answer.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_llm_agent(&self, id: &str, timeout_s: u32, tokens_max: u32) -> anyhow::Result<()> {
        self.write_llm_agent_with(id, timeout_s, tokens_max, "")
    }

    /// Like [`Self::write_llm_agent`], with these further members.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_llm_agent_with(&self, id: &str, timeout_s: u32, tokens_max: u32, members: &str) -> anyhow::Result<()> {
        self.definitions.write_llm_agent(id, timeout_s, tokens_max, members)
    }

    /// Starts `greenroom up`, and returns the process with a client that authenticates as the
    /// administrator. Dropping the process kills it, as `kill -9` does.
    ///
    /// # Errors
    /// If the process does not listen in time.
    pub async fn up(&self) -> anyhow::Result<(RunningCommand, Client)> {
        let process = self.terminal.start(&["up"])?;
        let socket = self.terminal.data_dir().join("control.sock");
        let connect = || async { tokio::net::UnixStream::connect(&socket).await.ok() };
        wait_until("the process listens", COMMAND_WAIT_MAX, connect).await?;
        let client = Client::new(Arc::new(ControlClient::new(&socket, UserId::new("admin")?)));
        Ok((process, client))
    }
}
