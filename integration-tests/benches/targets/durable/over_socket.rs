//! Measures `greenroom up` by its socket, with the load program in a process of its own.

use std::process::Command;

use greenroom_integration_tests::closed_loop::{self, Level};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;

use super::peers::load_levels;
use crate::program;
use crate::running_pod::RunningPod;

/// Measures every level on one pod with the default settings, except for the hourly limit of requests, which
/// a benchmark exceeds in a minute.
pub(super) async fn levels() -> anyhow::Result<Vec<Level>> {
    let folder = tempfile::tempdir()?;
    let definitions_dir = DefinitionsDir::new(&folder.path().join("definitions"))?;
    closed_loop::write_definitions(&definitions_dir)?;
    let data_dir = folder.path().join("data");
    std::fs::create_dir_all(&data_dir)?;
    let settings = "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nrate_limit = 1000000000\n";
    let settings_path = folder.path().join("greenroom.toml");
    std::fs::write(&settings_path, settings)?;
    let _pod = RunningPod::start(&data_dir, |command| {
        command.arg("--config").arg(settings_path).arg("--definitions").arg(definitions_dir.dir());
    })
    .await?;
    load_levels(Command::new(program("workflow_load")?).arg(&data_dir))
}
