//! The arguments of `memory`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use greenroom_protocol::{AgentId, ContentHash, PrincipalId};

use super::keys::parse_subject;

/// Commands of `memory`.
#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// List the newest memories of an agent
    List {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show the memories that are most similar to a text
    Recall {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// The text
        query: String,
        /// Maximum number of rows
        #[arg(long, default_value_t = 5)]
        limit: u32,
    },
    /// Count the memories of an agent
    Count {
        /// The agent, with or without its trailing number
        agent: AgentId,
    },
    /// Let an agent remember text files in parts; a file that is read again replaces its parts
    Ingest {
        /// The agent, with or without its trailing number
        agent: AgentId,
        /// Text files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Name of the document instead of the path of its file
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Forget one memory, a document or all memories of an agent, or those of a user or a tenant
    Forget(ForgetArgs),
}

/// Arguments of `memory forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The agent, with or without its trailing number
    #[arg(required_unless_present_any = ["of", "tenant"])]
    pub agent: Option<AgentId>,
    /// Id of the memory, as `list` prints it
    #[arg(required_unless_present_any = ["all", "source", "of", "tenant"])]
    pub memory: Option<ContentHash>,
    /// All memories of the agent
    #[arg(long, conflicts_with = "memory")]
    pub all: bool,
    /// The parts of a document of the agent
    #[arg(long, value_name = "NAME", conflicts_with_all = ["memory", "all"])]
    pub source: Option<String>,
    /// What all agents have remembered for a user of your tenant
    #[arg(
        long,
        value_name = "ISSUER/TENANT/USER",
        value_parser = parse_subject,
        conflicts_with_all = ["agent", "memory", "all", "source"]
    )]
    pub of: Option<PrincipalId>,
    /// What all agents have remembered for your tenant, documents included
    #[arg(long, conflicts_with_all = ["agent", "memory", "all", "source", "of"])]
    pub tenant: bool,
}
