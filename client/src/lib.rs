//! The client library: calls of agents, workflows and teams, runs and queries, over a transport.
//!
//! [`Client`] begins the calls and a [`Transport`] sends them. A builder has what belongs to one call; nothing of a call
//! is in the client. This crate knows no actor, policy or store: each transport is implemented next to the server that
//! it connects to, and with the features `nats` and `http` the transports over NATS and HTTP are here. The folder `examples`
//! has programs that work over each of them.
#![cfg_attr(
    feature = "nats",
    doc = r#"
```no_run
use greenroom_client::{Client, Credential, nats::ConnectOptions};

# async fn example() -> Result<(), greenroom_client::Error> {
let options = ConnectOptions::default().credential(Credential::ApiKey("key of alice".into()));
let client = Client::connect_with("nats://localhost:4222", options).await?;
let outputs = client.agent("executive_summary_agent").input("text", "The quarter was good.").execute().await?;
println!("{outputs:?}");
# Ok(())
# }
```
"#
)]
#![cfg_attr(
    feature = "http",
    doc = r#"
```no_run
use greenroom_client::{Client, Credential, http::HttpOptions};

# async fn example() -> Result<(), greenroom_client::Error> {
let options = HttpOptions::default().credential(Credential::ApiKey("key of alice".into()));
let client = Client::connect_http("https://greenroom.example", options)?;
let outputs = client.workflow("generate_quarterly_report").input("data_source", "sales.csv").run().await?;
println!("{outputs:?}");
# Ok(())
# }
```
"#
)]
#![deny(missing_docs)]

mod actor;
mod call;
pub mod client;
#[cfg(any(feature = "nats", feature = "http"))]
mod connect;
mod connection;
mod error;
#[cfg(any(feature = "nats", feature = "http"))]
mod framed;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "nats")]
pub mod nats;
mod prepared;
mod run;
mod team;
pub mod transport;

pub use actor::{ActorMessage, ActorRef, AgentMessage, ContextMessage, RunMessage};
pub use call::{Call, CallParams, TeamCall};
pub use client::Client;
pub use error::{Error, require_success};
pub use greenroom_protocol::Credential;
pub use prepared::{PreparedRequest, ReplyResult};
pub use run::RunHandle;
pub use team::Team;
pub use transport::{
    ContentChunks, Events, Observation, Observations, Progress, ProgressStream, Transport, TransportError, Upload,
    Watch,
};
