//! Pods whose PostgreSQL, Redis or S3 server has TLS with an authority of its own: they use it with the file of that authority, and
//! refuse to start without, with an error that names the setting.

use std::fs;

use anyhow::{Context, Result};
use greenroom_protocol::ContentHash;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::artifacts::{s3_variables, terminal};
use crate::postgres::{create_database, harness};

const ECHO: [&str; 5] = ["run", "agent", "echo_agent", "--input", "text=@note.bin"];

/// A variable that the test command sets.
pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; `scripts/test` starts the servers and sets it"))
}

/// Fails unless a pod with these variables starts with the right file, and with no other one.
async fn expect_trusted(variables: &[(&str, String)], ca_setting: &'static str, kind: &str) -> Result<()> {
    let (right, other) = (variable("GREENROOM_TEST_CA_FILE")?, variable("GREENROOM_TEST_OTHER_CA_FILE")?);
    for ca_file in [Some(other), Some("missing.pem".to_owned()), None] {
        let mut terminal = terminal(variables)?;
        if let Some(ca_file) = &ca_file {
            terminal.set_variable(ca_setting, ca_file);
        }
        let error = terminal.run(&["agents", "list"]).await?.expect_error(1)?;
        let found = (&error["code"], &error["details"]["store"]);
        assert_eq!(found, (&"store_unavailable".into(), &kind.into()), "{ca_file:?}: {error:#}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(ca_setting)), "{error:#}");
    }
    let mut terminal = terminal(variables)?;
    terminal.set_variable(ca_setting, &right);
    terminal.run(&["agents", "list"]).await?.expect_success().map(drop)
}

#[tokio::test]
async fn a_database_is_used_with_the_certificate_of_its_authority_only() -> Result<()> {
    let (right, other) = (variable("GREENROOM_TEST_CA_FILE")?, variable("GREENROOM_TEST_OTHER_CA_FILE")?);
    let options: PgConnectOptions = create_database("tls").await?.parse()?;
    let public = options.ssl_mode(PgSslMode::VerifyFull).to_url_lossy().to_string();
    let trusting = |ca_file: &str| format!("{public}&sslrootcert={ca_file}");
    for url in [trusting(&other), trusting("missing.pem"), public.clone()] {
        for command in [["agents", "list"], ["db", "migrate"], ["db", "check"]] {
            let error = harness(&url)?.run(&command).await?.expect_error(1)?;
            let found = (&error["code"], &error["details"]["store"]);
            assert_eq!(found, (&"store_unavailable".into(), &"untrusted".into()), "{command:?}: {error:#}");
            let names_setting = |message: &str| message.contains("`sslrootcert`") && message.contains("DATABASE_URL");
            assert!(error["message"].as_str().is_some_and(names_setting), "{error:#}");
        }
    }
    let terminal = harness(&trusting(&right))?;
    terminal.run(&["db", "migrate"]).await?.expect_success()?;
    terminal.run(&["agents", "list"]).await?.expect_success()?;
    terminal.run(&["db", "check"]).await?.expect_success().map(drop)
}

#[tokio::test]
async fn a_redis_is_used_with_the_certificate_of_its_authority_only() -> Result<()> {
    let variables = [("REDIS_URL", variable("GREENROOM_TEST_REDIS_TLS_URL")?)];
    expect_trusted(&variables, "REDIS_CA_FILE", "redis_untrusted").await
}

#[tokio::test]
async fn an_s3_server_is_used_with_the_certificate_of_its_authority_only() -> Result<()> {
    let [_, bucket, id, secret] = s3_variables()?;
    let variables = [("S3_ENDPOINT", variable("GREENROOM_TEST_S3_TLS_URL")?), bucket, id, secret];
    expect_trusted(&variables, "S3_CA_FILE", "s3_untrusted").await?;

    let mut terminal = terminal(&variables)?;
    terminal.set_variable("S3_CA_FILE", &variable("GREENROOM_TEST_CA_FILE")?);
    let content = [terminal.folder().display().to_string().as_bytes(), &[0xff]].concat();
    terminal.write_file("note.bin", &content)?;
    // The request itself is rejected, because no agent takes such an input; its file is stored before.
    terminal.run(&ECHO).await?;
    let hash = ContentHash::from_content(&content).to_string();
    terminal.run(&["artifacts", "get", &hash, "--out", "copy.bin"]).await?.expect_success()?;
    assert_eq!(fs::read(terminal.folder().join("copy.bin"))?, content);
    Ok(())
}
