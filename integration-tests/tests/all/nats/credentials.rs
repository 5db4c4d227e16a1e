//! How a pod authenticates to the server: by a token, a user and a password, an NKey, or the URL.

use anyhow::Result;
use async_nats::ConnectOptions;
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_protocol::Status;
use greenroom_supervisor::config::{NatsAuth, Secret};

use super::fixture::{ADMIN_KEY, Caller, start_with};

/// An NKey of a user, from the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC_KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// Starts a pod with these credentials at a server with this configuration; a request of a caller is served.
async fn expect_served(configuration: &str, auth: NatsAuth, caller: ConnectOptions) -> Result<()> {
    let server = NatsServer::start_with(configuration).await?;
    let change = |config: &mut greenroom_supervisor::config::Config| {
        if let Some(nats) = &mut config.nats {
            nats.auth = auth;
        }
    };
    let pod = start_with(&server.url(), "greenroom", change).await?;
    let client = caller.connect(server.url()).await?;
    let caller = Caller { client, prefix: "greenroom".to_owned(), headers: async_nats::HeaderMap::new() };
    assert_eq!(caller.with_key(ADMIN_KEY).echo("x").await?.status, Status::Success);
    assert!(pod.shows("nats_connected 1"));
    pod.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_authenticates_by_a_token() -> Result<()> {
    let auth = NatsAuth::Token(Secret::new("planted-token"));
    let caller = ConnectOptions::with_token("planted-token".to_owned());
    expect_served("authorization { token: \"planted-token\" }\n", auth, caller).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_authenticates_by_a_user_and_a_password() -> Result<()> {
    let auth = NatsAuth::User { name: "pod".to_owned(), password: Secret::new("planted-password") };
    let caller = ConnectOptions::with_user_and_password("pod".to_owned(), "planted-password".to_owned());
    expect_served("authorization { user: \"pod\", password: \"planted-password\" }\n", auth, caller).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_authenticates_by_an_nkey() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pod.nk");
    std::fs::write(&file, format!("{SEED}\n"))?;
    let configuration = format!("authorization {{ users: [ {{ nkey: \"{PUBLIC_KEY}\" }} ] }}\n");
    expect_served(&configuration, NatsAuth::Nkey(file), ConnectOptions::with_nkey(SEED.to_owned())).await
}
