//! The settings by which the pods of a terminal receive requests over a NATS server, and the clients of its users.

use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential};

use crate::nats_server::NatsServer;
use crate::terminal::CliHarness;

/// The secret of the cluster.
pub const CLUSTER_SECRET: &str = "planted-secret-of-the-cluster";
/// The key of the administrator.
pub const ADMIN_KEY: &str = "planted-key-of-admin";

impl NatsServer {
    /// Lets the pods of this terminal receive requests over this server; the administrator has a key.
    ///
    /// # Errors
    /// If the settings cannot be written.
    pub fn configure(&self, terminal: &mut CliHarness) -> anyhow::Result<()> {
        terminal.set_variable("NATS_URL", &self.url());
        terminal.set_variable("GREENROOM_CLUSTER_SECRET", CLUSTER_SECRET);
        let users = format!("[[users]]\nname = \"admin\"\nroles = [\"admin\"]\napi_key = \"{ADMIN_KEY}\"\n");
        terminal.write_file("greenroom.toml", users)?;
        Ok(())
    }

    /// A client of the administrator.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.client_with_key(ADMIN_KEY).await
    }

    /// A client with this key.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn client_with_key(&self, key: &str) -> anyhow::Result<Client> {
        let options = ConnectOptions::default().credential(Credential::ApiKey(key.to_owned()));
        Ok(Client::connect_with(&self.url(), options).await?)
    }
}
