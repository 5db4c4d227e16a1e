//! The arguments of `cluster`.

use clap::Subcommand;

/// Commands of `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the pods that use the database: labels, leases, and the format of journals that they may write
    Status,
    /// Let the pods write the format of this release, once every pod that is alive reads it; older ones cannot join then
    Finalize,
}
