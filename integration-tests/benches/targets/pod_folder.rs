//! A folder from which `greenroom up` is started once or several times: definitions, settings, data directories. Other
//! commands of the product may have the same settings.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use greenroom_integration_tests::closed_loop;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::nats_pod::{ADMIN_KEY, CLUSTER_SECRET};
use tempfile::TempDir;

use crate::program;
use crate::running_pod::RunningPod;

/// The default settings, except for the hourly limits of requests, which a benchmark exceeds in a minute.
const SETTINGS: &str =
    "[[users]]\nname = \"admin\"\nroles = [\"admin\"]\nrate_limit = 1000000000\nquery_limit = 1000000000\n";

/// The folder, which is removed on drop.
pub(crate) struct PodFolder {
    folder: TempDir,
    definitions: DefinitionsDir,
    settings: PathBuf,
    database: Option<String>,
    nats: Option<String>,
}

impl PodFolder {
    /// Writes the settings, and the workflow of the closed loop. Pods store in SQLite, or in the PostgreSQL database
    /// with this URL.
    pub(crate) fn new(database: Option<&str>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        closed_loop::write_definitions(&definitions)?;
        let settings = folder.path().join("greenroom.toml");
        fs::write(&settings, SETTINGS)?;
        Ok(Self { folder, definitions, settings, database: database.map(str::to_owned), nats: None })
    }

    /// As [`Self::new`], for commands that are connected to the NATS server with this URL; the administrator has a key.
    pub(crate) fn over_nats(database: Option<&str>, url: &str) -> anyhow::Result<Self> {
        let folder = Self::new(database)?;
        fs::write(&folder.settings, format!("{SETTINGS}api_key = \"{ADMIN_KEY}\"\n"))?;
        Ok(Self { nats: Some(url.to_owned()), ..folder })
    }

    /// The definitions, for more of them.
    pub(crate) const fn definitions(&self) -> &DefinitionsDir {
        &self.definitions
    }

    fn data_dir(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("data-{number}"))
    }

    /// Starts the pod with this number, which has a data directory of its own, and waits until it accepts requests. The
    /// first one has the number 0; the others have its audit key and its artifacts.
    pub(crate) async fn start(&self, number: usize) -> anyhow::Result<RunningPod> {
        let (data_dir, first) = (self.data_dir(number), self.data_dir(0));
        fs::create_dir_all(&data_dir)?;
        if number > 0 {
            fs::copy(first.join("audit.key"), data_dir.join("audit.key")).context("the first pod has no key")?;
            std::os::unix::fs::symlink(first.join("artifacts"), data_dir.join("artifacts"))?;
        }
        RunningPod::start(&data_dir, |command| self.configure(command)).await
    }

    /// Gives a command the settings of the pods, and the data directory with this name.
    pub(crate) fn configure_in(&self, name: &str, command: &mut Command) {
        command.env("GREENROOM_DATA_DIR", self.folder.path().join(name));
        self.configure(command);
    }

    /// Gives a command the settings of the pods.
    fn configure(&self, command: &mut Command) {
        command.env("GREENROOM_CONFIG", &self.settings).env("GREENROOM_DEFINITIONS", self.definitions.dir());
        if let Some(url) = &self.database {
            command.env("DATABASE_URL", url).env("GREENROOM_ARTIFACTS_SHARED", "true");
        }
        if let Some(url) = &self.nats {
            command.env("NATS_URL", url).env("GREENROOM_CLUSTER_SECRET", CLUSTER_SECRET);
        }
    }

    /// The load program of the pod with this number, which needs the seconds and the levels as further arguments.
    pub(crate) fn load(&self, number: usize) -> anyhow::Result<Command> {
        let mut command = Command::new(program("workflow_load")?);
        command.arg(self.data_dir(number));
        Ok(command)
    }
}
