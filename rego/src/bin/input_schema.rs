//! Prints the JSON Schema of the policy's input: `opa check` reads the policies against it.

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
            // Nobody is left to tell if this cannot be written either.
            let _ = writeln!(std::io::stderr(), "the schema cannot be printed: {error}");
            ExitCode::FAILURE
        }
    }
}
