//! The arguments of `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Commands of `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List the newest entries
    List {
        /// Maximum number of rows
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Start after this cursor, which the previous page prints
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Show the entries of one number or request
    Show {
        /// Number of the entry (in PostgreSQL also CHAIN/NUMBER), or id of its request
        id: String,
    },
    /// Verify the hash chain of the audit
    Verify(VerifyArgs),
    /// Write the public key of the audit, with which anyone verifies it by `audit verify --public-key`
    ExportKey {
        /// The new file; default: standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write a copy of the whole audit, which anyone verifies by `audit verify --public-key --export`
    Export {
        /// The new file
        to: PathBuf,
    },
    /// Remove old entries; a signed anchor replaces them
    Prune {
        /// Minimum age, such as `365d`
        #[arg(long, value_name = "AGE")]
        older_than: humantime::Duration,
    },
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Verify with this public key instead of asking the pod: no private key and no pod is needed, and a pod may write
    /// meanwhile
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// The database to verify with the public key, such as a backup; default: the configured one
    #[arg(long, value_name = "FILE", requires = "public_key")]
    pub database: Option<PathBuf>,
    /// A copy that `audit export` has written, to verify with the public key
    #[arg(long, value_name = "FILE", requires = "public_key", conflicts_with = "database")]
    pub export: Option<PathBuf>,
}
