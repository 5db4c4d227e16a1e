//! A terminal whose commands ask a scripted model: definitions of its own, and the address of a server.

use std::fs;
use std::sync::Arc;

use greenroom_client::Client;
use greenroom_protocol::UserId;
use greenroom_supervisor::ingress::control::client::ControlClient;

use crate::definitions_dir::DefinitionsDir;
use crate::terminal::{COMMAND_WAIT_MAX, CliHarness, RunningCommand};
use crate::wait::until;

/// The key that every command hands to the model's server.
pub const MODEL_KEY: &str = "sk-planted-8c1f4ad97e";

/// A terminal, and the definitions that its commands read.
#[derive(Debug)]
pub struct ModelFixture {
    /// Where commands are typed.
    pub terminal: CliHarness,
    /// What they may run, to be added to.
    pub definitions: DefinitionsDir,
}

impl ModelFixture {
    /// Every tier goes to the server at this address, which speaks like OpenAI.
    ///
    /// # Errors
    /// What the file system says.
    pub fn asking(url: &str) -> anyhow::Result<Self> {
        let mut stand = Self::open()?;
        stand.terminal.variable("OPENAI_BASE_URL", url);
        stand.terminal.variable("OPENAI_MODEL", "scripted-model");
        stand.terminal.variable("OPENAI_API_KEY", MODEL_KEY);
        Ok(stand)
    }

    /// The server at this address speaks like Anthropic.
    ///
    /// # Errors
    /// What the file system says.
    pub fn asking_anthropic(url: &str) -> anyhow::Result<Self> {
        let mut stand = Self::open()?;
        stand.terminal.variable("ANTHROPIC_BASE_URL", url);
        stand.terminal.variable("ANTHROPIC_API_KEY", MODEL_KEY);
        Ok(stand)
    }

    /// The provider `house` of the configuration's file is at this address and speaks this wire.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_custom_provider(url: &str, wire: &str) -> anyhow::Result<Self> {
        let stand = Self::open()?;
        let table = format!(
            "[[providers]]\nname = \"house\"\nwire = \"{wire}\"\napi_key = \"{MODEL_KEY}\"\nbase_url = \"{url}\"\n"
        );
        stand.terminal.file("greenroom.toml", table)?;
        Ok(stand)
    }

    fn open() -> anyhow::Result<Self> {
        let mut terminal = CliHarness::open()?;
        let definitions = DefinitionsDir::new(&terminal.folder().join("definitions"))?;
        terminal.variable("GREENROOM_DEFINITIONS", &definitions.dir().display().to_string());
        terminal.always(&["-o", "json"]);
        Ok(Self { terminal, definitions })
    }

    /// Writes an agent that asks the standard tier to answer its `text`: it may take this many seconds,
    /// and one answer may have this many tokens.
    ///
    /// # Errors
    /// What the file system says.
    pub fn asking_agent(&self, id: &str, timeout_s: u32, tokens_max: u32) -> anyhow::Result<()> {
        self.asking_agent_with(id, timeout_s, tokens_max, "")
    }

    /// As [`Stand::asking_agent`], with these further members.
    ///
    /// # Errors
    /// What the file system says.
    pub fn asking_agent_with(&self, id: &str, timeout_s: u32, tokens_max: u32, members: &str) -> anyhow::Result<()> {
        let folder = self.definitions.dir().join("agents/business_ops");
        fs::create_dir_all(&folder)?;
        let field = "  - name: text\n    type: text\n    required: true\n";
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: business_ops\ndescription: Asks a model\nversion: \"1.0.0\"\n\
             capabilities: [asking]\ninputs:\n{field}outputs:\n  - name: text\n    type: text\n\
             policies: [require_authentication, audit_all_actions]\n\
             {members}limits:\n  max_concurrency: 10000\n  max_tokens: {tokens_max}\n\
             implementation:\n  runtime: llm\n  model: tier.standard\n  timeout: {timeout_s}\n\
             \x20 prompt:\n    system: You answer.\n    user: \"{{{{ inputs.text }}}}\"\n"
        );
        Ok(fs::write(folder.join(format!("{id}.yaml")), text)?)
    }

    /// A process that hosts the runs, and a client that speaks with it for the administrator. Dropping
    /// the process ends it at once, as `kill -9` does.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn up(&self) -> anyhow::Result<(RunningCommand, Client)> {
        let process = self.terminal.start(&["up"])?;
        let socket = self.terminal.data_dir().join("control.sock");
        let listens = || async { tokio::net::UnixStream::connect(&socket).await.ok() };
        until("the process listens", COMMAND_WAIT_MAX, listens).await?;
        let client = Client::new(Arc::new(ControlClient::new(&socket, UserId::new("admin")?)));
        Ok((process, client))
    }
}
