//! Arguments of the commands that list, show and measure definitions.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use greenroom_protocol::{AgentId, MicroUsd, WorkflowId};

use super::money::parse_usd;

/// Commands of `agents`.
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// List all, or those of a category
    List {
        /// Only agents of this category
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
    },
    /// Show one as YAML
    Show {
        /// Its id
        id: String,
    },
}

/// Commands of `workflows` and of `teams`.
#[derive(Debug, Subcommand)]
pub enum CatalogueCommand {
    /// List all
    List,
    /// Show one as YAML
    Show {
        /// Its id
        id: String,
    },
}

/// Commands of `catalogue`. They read the configured definitions, and need no pod.
#[derive(Debug, Subcommand)]
pub enum WholeCatalogueCommand {
    /// Find agents, teams and workflows by words of their names, descriptions, capabilities and tags
    Search {
        /// The words; a word may be the beginning of one
        #[arg(required = true)]
        words: Vec<String>,
        /// Maximum number of rows
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one definition with everything that is connected with it
    Show {
        /// The id of an agent, a team or a workflow
        id: String,
    },
    /// Print the sample inputs of a shipped workflow, for `run workflow --inputs`
    Sample {
        /// The workflow
        id: WorkflowId,
    },
    /// Print who works with whom, who is in which team, and which workflow calls what
    Graph {
        /// The language of the graph
        #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
        format: GraphFormat,
        /// Only the agents of this category, with what touches them
        #[arg(long, value_name = "CATEGORY")]
        category: Option<String>,
    },
    /// Print figures: counts, expensive agents, one-way collaborations, the most similar texts
    Stats,
}

/// The language of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// The language of Graphviz
    Dot,
    /// A picture
    Svg,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Agents, with or without their trailing numbers; without one, all
    pub ids: Vec<AgentId>,
    /// Only agents of this category
    #[arg(long, value_name = "CATEGORY")]
    pub category: Option<String>,
    /// Model instead of those of the definitions: PROVIDER.NAME or a tier
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Maximum cost of all examples together; what does not fit is skipped
    #[arg(long, value_name = "USD", allow_negative_numbers = true, value_parser = parse_usd)]
    pub max_cost_usd: Option<MicroUsd>,
    /// Timeout of one example, such as `90s`
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub timeout: humantime::Duration,
    /// File for the result as JSON, for a later comparison
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Kept result to compare with
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// File for the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}
