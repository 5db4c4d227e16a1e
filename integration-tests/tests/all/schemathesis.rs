//! schemathesis reads the served OpenAPI document, sends valid and invalid requests to every route of it, and checks each
//! response: no status above 499, and no status, media type or member that the document does not have.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::http_pod::ADMIN_KEY;
use greenroom_integration_tests::up_process::UpProcess;

/// The variable with the Python that has the packages of the tests.
const PYTHON_VARIABLE: &str = "GREENROOM_TEST_PYTHON";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/schemathesis.toml");
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Requests to each route. The seed makes them the same in each run of the test.
const EXAMPLES_MAX: &str = "20";
const SEED: &str = "15";

#[tokio::test]
async fn no_request_has_an_undocumented_response_or_an_error_of_the_server() -> Result<()> {
    let python = std::env::var(PYTHON_VARIABLE).with_context(|| {
        format!("{PYTHON_VARIABLE} names no Python with the packages of the tests; `scripts/test` installs it")
    })?;
    let up = UpProcess::start(|_, definitions| {
        definitions.write_echo_agent("echo_agent")?;
        definitions.write_row_workflow("two_steps", "echo_agent", 2)
    })
    .await?;
    let key = format!("Authorization: ApiKey {ADMIN_KEY}");
    let document = format!("http://{}/openapi.json", up.addr);
    let arguments = [
        &["--no-color", "--config-file", CONFIG, "run", document.as_str(), "--header", key.as_str()][..],
        &["--checks", CHECKS, "--phases", "fuzzing", "--max-examples", EXAMPLES_MAX, "--seed", SEED, "--no-shrink"],
        &["--generation-with-security-parameters", "false", "--generation-database", "none"],
        // A machine that is busy generates requests slowly, which is no finding.
        &["--suppress-health-check", "all", "--request-timeout", "30", "--warnings", "off"],
    ]
    .concat();
    let program = Path::new(&python).with_file_name("schemathesis");
    let output = up.terminal.start_program(&program, &arguments)?.wait().await?;
    ensure!(output.code == 0, "{}\n{}", output.out, output.err);
    let health = up.get("/health").await?;
    ensure!(health.status == 200 && !up.log().contains("panicked"), "{}", up.log());
    Ok(())
}
