//! Definitions and a policy in a bucket: watched by the ETags of its objects, and applied for every pod.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_integration_tests::wait::wait_until;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, PutOptions, PutPayload};
use serde_json::json;

use super::{Host, OWN, WAIT_MAX, write_definitions};
use crate::artifacts::s3_variables;
use crate::reload::{SHIPPED, bundle_with_wider_role};

/// The files of the definitions that [`write_definitions`] writes.
const FILES: [&str; 4] = ["categories.yaml", "capabilities.yaml", "models.yaml", "agents/business_ops/echo_agent.yaml"];

/// The bucket of the S3 server that the test command starts.
struct Bucket {
    client: AmazonS3,
    /// The first part of the keys of one test.
    prefix: String,
    /// What stands before the names of objects.
    url: String,
}

impl Bucket {
    /// Opens the bucket with a prefix that is named after the folder of the harness.
    fn open(terminal: &CliHarness) -> Result<Self> {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [(_, endpoint), (_, bucket), (_, id), (_, secret)] = s3_variables()?;
        let client = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(&bucket)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .build()?;
        let folder = terminal.folder().file_name().and_then(|name| name.to_str()).context("a name of words")?;
        let prefix = format!("test/{}", folder.trim_start_matches('.'));
        let url = format!("s3://{bucket}/{prefix}");
        Ok(Self { client, prefix, url })
    }

    async fn put(&self, name: &str, content: Vec<u8>) -> Result<()> {
        let path = object_store::path::Path::parse(format!("{}/{name}", self.prefix))?;
        self.client.put_opts(&path, PutPayload::from(content), PutOptions::default()).await?;
        Ok(())
    }

    /// Puts definitions of `echo_agent` with this description.
    async fn put_definitions(&self, terminal: &CliHarness, description: &str) -> Result<()> {
        write_definitions(terminal, "put", description)?;
        for name in FILES {
            let content = fs::read(terminal.folder().join("put").join(Path::new(name)))?;
            self.put(&format!("definitions/{name}"), content).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn the_objects_of_a_bucket_are_watched_until_they_are_applied() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    for (name, value) in s3_variables()? {
        terminal.set_variable(name, &value);
    }
    let bucket = Bucket::open(&terminal)?;
    bucket.put_definitions(&terminal, OWN).await?;
    let definitions = format!("{}/definitions", bucket.url);
    terminal.add_options(&["--definitions", &definitions]);
    let checked = terminal.run(&["definitions", "check"]).await?.expect_success()?;
    assert_eq!(checked["files"], 4, "{checked:#}");

    let host = Host::start(terminal).await?;
    assert_eq!(host.description().await?, OWN);
    bucket.put_definitions(&host.terminal, "Edited").await?;
    host.wait_for_description("Edited").await?;

    host.apply("definitions", &definitions, 1).await?;
    bucket.put("policies/guard.tar.gz", bundle_with_wider_role()?).await?;
    assert_eq!(host.exit_code_of_operator().await?, 3);
    host.apply("policy", &format!("{}/policies", bucket.url), 1).await?;
    assert_eq!(host.exit_code_of_operator().await?, 0);
    let error = host.terminal.run(&["policy", "apply", &format!("{}/none", bucket.url)]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");

    // The next application is of what the bucket has then.
    bucket.put_definitions(&host.terminal, "Later").await?;
    host.apply("definitions", &definitions, 2).await?;
    assert_eq!(host.description().await?, "Later");
    let host = host.restart().await?;
    assert_eq!((host.description().await?, host.exit_code_of_operator().await?), (json!("Later"), 0));
    Ok(())
}

#[tokio::test]
async fn a_policy_in_a_bucket_is_watched_and_a_broken_one_does_not_replace_it() -> Result<()> {
    const BUNDLE: &str = "policies/guard.tar.gz";
    let mut terminal = CliHarness::open()?;
    for (name, value) in s3_variables()? {
        terminal.set_variable(name, &value);
    }
    let bucket = Bucket::open(&terminal)?;
    bucket.put(BUNDLE, fs::read(SHIPPED)?).await?;
    write_definitions(&terminal, "definitions", OWN)?;
    terminal.add_options(&["--definitions", "definitions", "--policy", &format!("{}/policies", bucket.url)]);
    let host = Host::start(terminal).await?;
    assert_eq!(host.exit_code_of_operator().await?, 3);
    bucket.put(BUNDLE, bundle_with_wider_role()?).await?;
    host.wait_for_operator(0).await?;

    bucket.put(BUNDLE, b"no bundle".to_vec()).await?;
    let is_rejected = || async { host.up.err().contains("reload rejected, keeping the active version").then_some(()) };
    wait_until("the broken policy is rejected", WAIT_MAX, is_rejected).await.with_context(|| host.up.err())?;
    assert_eq!(host.exit_code_of_operator().await?, 0, "it keeps the last one");
    bucket.put(BUNDLE, fs::read(SHIPPED)?).await?;
    host.wait_for_operator(3).await
}

#[tokio::test]
async fn a_bucket_without_the_settings_of_its_server_is_refused() -> Result<()> {
    let terminal = CliHarness::open()?;
    for words in
        [["definitions", "apply", "s3://ai-agents/definitions"], ["policy", "apply", "s3://ai-agents/policies"]]
    {
        let error = terminal.run(&words).await?.expect_error(2)?;
        assert_eq!(error["code"], "invalid_configuration", "{error:#}");
    }
    Ok(())
}
