//! Prints the JSON Schema of the policy input; `opa check` type-checks the policies against it.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let schema = schemars::schema_for!(greenroom_rego::Input);
    let printed = serde_json::to_string_pretty(&schema)
        .map_err(std::io::Error::from)
        .and_then(|text| writeln!(std::io::stdout(), "{text}"));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr cannot be written either, there is no other channel for the error.
            let _ = writeln!(std::io::stderr(), "cannot print the schema: {error}");
            ExitCode::FAILURE
        }
    }
}
