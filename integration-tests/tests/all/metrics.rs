//! What `/metrics` of a real `greenroom up` counts: the failures of the platform, and each denial once.

use std::net::TcpListener;

use anyhow::{Context, Result};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{ScriptServer, ServerBehavior};
use greenroom_integration_tests::terminal::{COMMAND_WAIT_MAX, RunningCommand};
use greenroom_integration_tests::wait::wait_until;

use crate::control::scrape;
use crate::memory::USERS;

/// A pod that serves its metrics, with an agent whose model fails for the text `fail`, an agent for internal users,
/// and a workflow of the latter.
struct Fixture {
    fixture: ModelFixture,
    address: String,
    _up: RunningCommand,
    _server: ScriptServer,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let server = ScriptServer::start(|request| match request.body.to_string().contains("fail") {
            true => ServerBehavior::Status("400 Bad Request", ""),
            false => ServerBehavior::Good,
        })
        .await?;
        let mut fixture = ModelFixture::with_openai(server.url())?;
        fixture.terminal.write_file("greenroom.toml", USERS)?;
        fixture.write_llm_agent("llm_agent", 60, 100)?;
        fixture.definitions.write_echo_agent("internal_agent")?;
        let path = fixture.definitions.dir().join("agents/business_ops/internal_agent.yaml");
        let text =
            std::fs::read_to_string(&path)?.replace("audit_all_actions]", "audit_all_actions, internal_users_only]");
        std::fs::write(&path, text)?;
        fixture.definitions.write_row_workflow("internal_steps", "internal_agent", 1)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        fixture.terminal.set_variable("GREENROOM_METRICS_ADDR", &address);
        let (up, _client) = fixture.up().await?;
        Ok(Self { fixture, address, _up: up, _server: server })
    }

    /// Runs a command that must end with this exit code and this error.
    async fn expect(&self, words: &[&str], exit_code: i32, code: &str) -> Result<()> {
        let output = self.fixture.terminal.run(words).await?;
        let error = output.expect_error(exit_code).with_context(|| format!("{words:?}"))?;
        assert_eq!(error["code"], code, "{words:?}: {error:#}");
        Ok(())
    }

    /// Waits until a line of the page has this value.
    async fn wait_for_value(&self, name: &str, value: f64) -> Result<()> {
        let mut page = String::new();
        let served = wait_until(name, COMMAND_WAIT_MAX, || {
            page = scrape(&self.address).unwrap_or_default();
            let found = value_of(&page, name);
            async move { found.filter(|found| (found - value).abs() < 1e-9) }
        })
        .await;
        served.map(drop).with_context(|| format!("{name} {value} is expected: {page}"))
    }
}

/// The value of a metric with its labels, on a page of metrics.
pub(crate) fn value_of(page: &str, name: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn the_error_rate_counts_what_the_platform_failed_at_and_no_mistakes() -> Result<()> {
    let fixture = Fixture::start().await?;
    let run = ["run", "agent", "llm_agent"];
    let with = |words: &[&'static str]| [&run[..], words].concat();
    let mistakes: [(Vec<&str>, i32, &str); 4] = [
        (vec!["run", "agent", "lm_agent", "--input", "text=x"], 2, "unknown_agent"),
        (with(&["--input", "text=x", "--input", "test=x"]), 2, "invalid_input"),
        (with(&[]), 2, "missing_input"),
        (with(&["--input", "text=x", "--user", "guest"]), 3, "policy_denied"),
    ];
    for (words, exit_code, code) in &mistakes {
        fixture.expect(words, *exit_code, code).await?;
    }
    // Each of them has one reply, and so has the request that succeeds.
    fixture.fixture.terminal.run(&with(&["--input", "text=hello"])).await?.expect_success()?;
    fixture.wait_for_value("error_rate", 0.0).await?;
    fixture.expect(&with(&["--input", "text=fail"]), 1, "model_failed").await?;
    fixture.wait_for_value("error_rate", 1.0 / 6.0).await?;
    fixture.expect(&with(&["--input", "text=fail"]), 1, "model_failed").await?;
    fixture.wait_for_value("error_rate", 2.0 / 7.0).await
}

#[tokio::test]
async fn a_denial_is_counted_once_at_its_own_hop() -> Result<()> {
    let fixture = Fixture::start().await?;
    let denials = "policy_denials{code=\"policy_denied\"}";
    fixture.wait_for_value(denials, 0.0).await?;
    fixture.expect(&["run", "agent", "llm_agent", "--input", "text=x", "--user", "guest"], 3, "policy_denied").await?;
    fixture.wait_for_value(denials, 1.0).await?;
    // The run is permitted, its step is denied, and the reply of the run has that cause.
    let run = ["run", "workflow", "internal_steps", "--input", "text=x", "--user", "operator"];
    let output = fixture.fixture.terminal.run(&run).await?;
    let error = output.json()?["error"].clone();
    assert!(error["details"]["cause"]["code"] == "policy_denied" || error["code"] == "policy_denied", "{error:#}");
    fixture.wait_for_value(denials, 2.0).await?;
    // A denied query counts too, and a request that is allowed does not.
    fixture.expect(&["audit", "verify", "--user", "guest"], 3, "policy_denied").await?;
    fixture.fixture.terminal.run(&["run", "agent", "llm_agent", "--input", "text=x"]).await?.expect_success()?;
    fixture.wait_for_value(denials, 3.0).await
}
