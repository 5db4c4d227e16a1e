//! How pods and clients authenticate to the server and recognise it: by a token, a user and a password, an NKey, a
//! credentials file, and certificates. With another key, or another authority, neither of them is connected: the pod is not
//! ready, and the client has a code.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use greenroom_client::nats::ConnectOptions;
use greenroom_client::{Client, Credential, Error};
use greenroom_integration_tests::nats_server::NatsServer;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::ErrorCode;
use greenroom_supervisor::config::{NatsAuth, NatsTls, Secret};
use tempfile::TempDir;

use super::fixture::{ADMIN_KEY, ECHO, NatsPod, WAIT_MAX, start_with};
use super::operator::{Operator, user_key};
use crate::tls::variable;

/// How a pod and a client connect.
#[derive(Default)]
struct Access {
    auth: NatsAuth,
    tls: NatsTls,
    client: ConnectOptions,
}

impl Access {
    fn by_token(token: &str) -> Self {
        let (auth, client) = (NatsAuth::Token(Secret::new(token)), ConnectOptions::default().token(token));
        Self { auth, client, ..Self::default() }
    }

    fn by_password(name: &str, password: &str) -> Self {
        let auth = NatsAuth::User { name: name.to_owned(), password: Secret::new(password) };
        Self { auth, client: ConnectOptions::default().user_and_password(name, password), ..Self::default() }
    }

    /// By the seed of an NKey, which the pod reads from a file in this folder.
    fn by_nkey(folder: &TempDir, seed: &str) -> Result<Self> {
        let auth = NatsAuth::Nkey(write(folder, "pod.nk", &format!("{seed}\n"))?);
        Ok(Self { auth, client: ConnectOptions::default().nkey(seed), ..Self::default() })
    }

    /// By a credentials file in this folder.
    fn by_credentials(folder: &TempDir, content: &str) -> Result<Self> {
        let path = write(folder, "pod.creds", content)?;
        let client = ConnectOptions::default().credentials_file(&path);
        Ok(Self { auth: NatsAuth::Credentials(path), client, ..Self::default() })
    }

    /// By nothing, to servers whose certificates this authority has signed.
    fn by_authority(ca_file: &str) -> Self {
        let tls = NatsTls { ca_file: Some(ca_file.into()), identity: None };
        Self { tls, client: ConnectOptions::default().tls_ca_file(ca_file), ..Self::default() }
    }

    fn with_certificate(self, (certificate, key): (&str, &str)) -> Self {
        let tls = NatsTls { identity: Some((certificate.into(), key.into())), ..self.tls };
        Self { tls, client: self.client.tls_client_files(certificate, key), ..self }
    }

    async fn pod(&self, url: &str) -> Result<NatsPod> {
        let change = |config: &mut greenroom_supervisor::config::Config| {
            if let Some(nats) = &mut config.nats {
                (nats.auth, nats.tls) = (self.auth.clone(), self.tls.clone());
            }
        };
        start_with(url, "greenroom", change).await
    }

    /// A client of the administrator.
    async fn client(&self, url: &str) -> Result<Client, Error> {
        let options = self.client.clone().credential(Credential::ApiKey(ADMIN_KEY.to_owned()));
        Client::connect_with(url, options).await
    }
}

fn write(folder: &TempDir, name: &str, content: &str) -> Result<PathBuf> {
    let path = folder.path().join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {name}"))?;
    Ok(path)
}

/// Fails unless a pod and a client are connected, and the pod serves the client.
async fn expect_served(url: &str, access: &Access) -> Result<()> {
    let pod = access.pod(url).await?;
    assert!(pod.shows("nats_connected 1"), "{:?}", pod.pod.readiness().unready_cause());
    let outputs = access.client(url).await?.agent(ECHO).input("text", "x").execute().await?;
    assert_eq!(outputs["text"], "x");
    pod.pod.shutdown().await;
    Ok(())
}

/// Fails unless neither a pod nor a client is connected. The pod is not ready for this reason; returns the error of the
/// client.
async fn expect_unconnected(url: &str, access: &Access, reason: &str) -> Result<Error> {
    let pod = access.pod(url).await?;
    let is_refused = || async { pod.pod.readiness().unready_cause().filter(|cause| cause.message.contains(reason)) };
    let cause = wait_until("the pod is refused", WAIT_MAX, is_refused).await?;
    assert_eq!(cause.code, ErrorCode::StoreUnavailable, "{cause}");
    assert!(pod.shows("nats_connected 0") && pod.shows("pod_ready 0"), "{}", pod.pod.metrics().render());
    pod.pod.shutdown().await;
    access.client(url).await.err().context("the client is connected")
}

/// As [`expect_unconnected`], and the client has a code that no repetition changes.
async fn expect_refused(url: &str, access: &Access, reason: &str) -> Result<()> {
    let refused = expect_unconnected(url, access, reason).await?;
    assert_eq!((refused.code(), refused.is_retryable()), (Some(ErrorCode::Unauthenticated), false), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_token_or_password_is_accepted_and_another_one_is_refused() -> Result<()> {
    let server = NatsServer::start_with("authorization { token: \"planted-token\" }\n").await?;
    expect_served(&server.url(), &Access::by_token("planted-token")).await?;
    expect_refused(&server.url(), &Access::by_token("planted-other"), "authorization violation").await?;
    let users = "authorization { user: \"pod\", password: \"planted-password\" }\n";
    let server = NatsServer::start_with(users).await?;
    expect_served(&server.url(), &Access::by_password("pod", "planted-password")).await?;
    expect_refused(&server.url(), &Access::by_password("pod", "planted-other"), "authorization violation").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_nkey_is_accepted_and_another_one_is_refused() -> Result<()> {
    let (folder, own, other) = (tempfile::tempdir()?, user_key(1)?, user_key(2)?);
    let users = format!("authorization {{ users: [ {{ nkey: \"{}\" }} ] }}\n", own.public_key());
    let server = NatsServer::start_with(&users).await?;
    expect_served(&server.url(), &Access::by_nkey(&folder, &own.seed()?)?).await?;
    let foreign = Access::by_nkey(&folder, &other.seed()?)?;
    expect_refused(&server.url(), &foreign, "authorization violation").await?;
    expect_refused(&server.url(), &Access::by_nkey(&folder, "SUnone")?, "failed signing nonce").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file_of_the_account_is_accepted_and_one_of_another_operator_is_refused() -> Result<()> {
    let (folder, operator, other) = (tempfile::tempdir()?, Operator::from_number(1)?, Operator::from_number(5)?);
    let server = NatsServer::start_with(&operator.server_configuration()?).await?;
    expect_served(&server.url(), &Access::by_credentials(&folder, &operator.credentials()?)?).await?;
    let foreign = Access::by_credentials(&folder, &other.credentials()?)?;
    expect_refused(&server.url(), &foreign, "authorization violation").await?;
    expect_refused(&server.url(), &Access::default(), "authorization violation").await?;
    // The token of one user with the key of another one.
    let (own, seed) = (operator.credentials()?, user_key(9)?.seed()?);
    let changed = own.replace(&user_key(7)?.seed()?, &seed);
    assert_ne!(changed, own);
    let changed = Access::by_credentials(&folder, &changed)?;
    expect_refused(&server.url(), &changed, "authorization violation").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credentials_file_without_credentials_is_an_error_of_the_configuration() -> Result<()> {
    let (server, folder) = (NatsServer::start().await?, tempfile::tempdir()?);
    let access = Access::by_credentials(&folder, "neither a token nor a key\n")?;
    let error = access.pod(&server.url()).await.err().context("the pod starts")?;
    assert!(format!("{error:#}").contains("nats.credentials_file"), "{error:#}");
    let refused = access.client(&server.url()).await.err().context("the client is connected")?;
    assert_eq!(refused.code(), Some(ErrorCode::InvalidConfiguration), "{refused}");
    Ok(())
}

/// The lines of a server with the certificate that the test command has created.
fn tls_lines(more: &str) -> Result<String> {
    let (certificate, key) =
        (variable("GREENROOM_TEST_SERVER_CERT_FILE")?, variable("GREENROOM_TEST_SERVER_KEY_FILE")?);
    Ok(format!("tls {{\n  cert_file: \"{certificate}\"\n  key_file: \"{key}\"\n{more}}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_used_with_the_certificate_of_its_authority_only() -> Result<()> {
    let (right, other) = (variable("GREENROOM_TEST_CA_FILE")?, variable("GREENROOM_TEST_OTHER_CA_FILE")?);
    let server = NatsServer::start_with(&tls_lines("")?).await?;
    let url = server.url().replacen("nats:", "tls:", 1);
    expect_served(&url, &Access::by_authority(&right)).await?;
    expect_served(&server.url(), &Access::by_authority(&right)).await?;
    expect_refused(&url, &Access::by_authority(&other), "NATS cannot be used").await?;
    expect_refused(&url, &Access::default(), "NATS cannot be used").await?;
    // A server without TLS is not used by those that require it.
    let plain = NatsServer::start().await?;
    expect_unconnected(&plain.url(), &Access::by_authority(&right), "NATS cannot be used").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_requires_certificates_is_used_with_one_of_its_authority_only() -> Result<()> {
    let ca_file = variable("GREENROOM_TEST_CA_FILE")?;
    let (certificate, key) =
        (variable("GREENROOM_TEST_SERVER_CERT_FILE")?, variable("GREENROOM_TEST_SERVER_KEY_FILE")?);
    let lines = tls_lines(&format!("  ca_file: \"{ca_file}\"\n  verify: true\n"))?;
    let server = NatsServer::start_with(&lines).await?;
    let own = Access::by_authority(&ca_file).with_certificate((&certificate, &key));
    expect_served(&server.url(), &own).await?;
    expect_unconnected(&server.url(), &Access::by_authority(&ca_file), "NATS cannot be used").await.map(drop)
}
