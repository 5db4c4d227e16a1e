//! The arguments of `mcp`.

use clap::Args;

/// Arguments of `mcp`.
#[derive(Debug, Args)]
pub struct McpArgs {
    /// Only agents of this category, and no workflows
    #[arg(long, value_name = "ID")]
    pub category: Option<String>,
    /// Only this tool, such as `agent_executive_summary_agent`; may be repeated
    #[arg(long = "tool", value_name = "NAME")]
    pub tools: Vec<String>,
    /// Timeout of a call, such as `90s`
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<humantime::Duration>,
}
