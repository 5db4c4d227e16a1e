//! Why a bundle does not become the active policy.

use greenroom_protocol::{Cause, ErrorCode};

/// Why a bundle does not become the active policy.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The WASM engine, or its cache, cannot be set up.
    #[error("the policy engine cannot be set up: {0}")]
    Setup(String),
    /// The module does not compile.
    #[error("policy.wasm does not compile: {0}")]
    Compile(String),
    /// The module compiles but cannot be instantiated.
    #[error("policy.wasm cannot be instantiated: {0}")]
    Instantiate(String),
    /// An entrypoint is missing.
    #[error("the policy has no entrypoint `{entrypoint}`, only {available:?}")]
    Entrypoint {
        /// The missing entrypoint.
        entrypoint: &'static str,
        /// The entrypoints that the module has.
        available: Vec<String>,
    },
    /// The policy needs functions that the host would have to provide.
    #[error("the policy uses built-ins that are not native to WebAssembly: {}", names.join(", "))]
    Builtins {
        /// The names of the functions.
        names: Vec<String>,
    },
    /// The list of checks cannot be decoded or is incomplete.
    #[error("`guard/checks` of the policy cannot be read: {0}")]
    Checks(String),
    /// A decision depends on fields that are not sent: the module was not built from the text beside it.
    #[error(
        "the policy decides a generated input differently without {}, which the rules of its Rego text do not read: \
         `policy.wasm` was not built from this text. Build the bundle again, or remove the text from it: every \
         decision then receives the whole input",
        paths.join(", ")
    )]
    Pruning {
        /// The paths on which the decision depends.
        paths: Vec<String>,
    },
    /// A validation step failed.
    #[error("the policy fails its validation: {0}")]
    Validation(String),
}

impl From<SnapshotError> for Cause {
    fn from(error: SnapshotError) -> Self {
        Self::new(ErrorCode::InvalidPolicy, error.to_string())
    }
}
