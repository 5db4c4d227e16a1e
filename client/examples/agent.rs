//! Executes an agent, and reads its outputs as a type of the program.
//!
//! `cargo run --package greenroom-client --example agent --features http,nats -- http://127.0.0.1:8000 KEY`; the address may
//! be that of a NATS server, too. A pod whose users have no keys needs none.

#![expect(clippy::result_large_err, reason = "an example shows the cause, and is not measured")]

use std::time::Duration;

use greenroom_client::{Client, Credential, Error};
use serde::Deserialize;

const DOCUMENT: &str = "Revenue grew by 12 percent in the fourth quarter. Costs were flat. \
                        The outlook for next year is positive.";

/// The outputs that the program needs; the agent may have others.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) summary: String,
    #[serde(default)]
    pub(crate) key_points: Vec<String>,
}

/// Lets the agent of the catalogue summarize a document.
pub(crate) async fn summarize(client: &Client) -> Result<Summary, Error> {
    let call = client.agent("executive_summary_agent").input("document", DOCUMENT);
    call.timeout(Duration::from_secs(60)).execute_as().await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8000".to_owned());
    let mut client = Client::connect(&address).await?;
    if let Some(key) = arguments.next() {
        client = client.with_credential(Credential::ApiKey(key));
    }
    let Summary { summary, key_points } = summarize(&client).await?;
    println!("{summary}");
    for point in key_points {
        println!("- {point}");
    }
    Ok(())
}
