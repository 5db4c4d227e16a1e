//! Waits for a change of the watched directories and of the settings file. The operating system reports changes inside
//! of directories; a directory that is replaced as a whole, a link to it that now leads elsewhere, and a changed file
//! are found by their identity. The directory of the file is not watched: it may be that of a database.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// How often the identities are compared.
const IDENTITY_INTERVAL: Duration = Duration::from_millis(250);

/// A directory after following links: its device, its number, and its path.
type Identity = Option<(u64, u64, PathBuf)>;

/// A file after following links, its size, and the time of its last change in seconds and nanoseconds.
type FileIdentity = Option<((u64, u64, PathBuf), u64, (i64, i64))>;

/// Watches directories and a file until it is dropped.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    changed: mpsc::Receiver<()>,
    dirs: Vec<(PathBuf, Identity)>,
    file: Option<(PathBuf, FileIdentity)>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// Those of the operating system for the directories.
    pub(super) fn start(dirs: Vec<PathBuf>, file: Option<PathBuf>) -> Result<Self, String> {
        // A full channel holds an earlier change that is not handled yet.
        let (changed_tx, changed) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error of the watcher may hide a change, so it counts as one.
            if event.map_or(true, |event| !event.kind.is_access()) {
                let _ = changed_tx.try_send(());
            }
        })
        .map_err(|error| error.to_string())?;
        let file = file.map(|path| (path.clone(), file_identity_of(&path)));
        let mut watch = Self { watcher, changed, dirs: Vec::new(), file };
        for dir in dirs {
            let identity = identity_of(&dir);
            watch
                .watcher
                .watch(&dir, RecursiveMode::Recursive)
                .map_err(|error| format!("{}: {error}", dir.display()))?;
            watch.dirs.push((dir, identity));
        }
        Ok(watch)
    }

    /// Waits until a directory or the file has changed, at most `delay` if there is one.
    ///
    /// # Errors
    /// If the watcher has ended.
    pub(super) async fn wait_changed(&mut self, delay: Option<Duration>) -> Result<(), String> {
        let mut ticks = tokio::time::interval(IDENTITY_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let retry = async {
            match delay {
                Some(delay) => tokio::time::sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(retry);
        loop {
            tokio::select! {
                changed = self.changed.recv() => return changed.ok_or_else(|| "the watcher has ended".to_owned()),
                () = &mut retry => return Ok(()),
                _ = ticks.tick() => if self.follow_replaced() | self.is_file_changed() { return Ok(()) },
            }
        }
    }

    /// Watches the directories that have been replaced. Returns true if there are any.
    fn follow_replaced(&mut self) -> bool {
        let Self { watcher, dirs, .. } = self;
        let mut is_replaced = false;
        for (dir, identity) in dirs {
            let current = identity_of(dir);
            if current != *identity {
                is_replaced = true;
                // The old directory may be gone, and the new one not there yet: the next tick finds it.
                let _ = watcher.unwatch(dir);
                let is_watched = current.is_some() && watcher.watch(dir, RecursiveMode::Recursive).is_ok();
                *identity = current.filter(|_| is_watched);
            }
        }
        is_replaced
    }

    /// True if the file has another identity than at the last call.
    fn is_file_changed(&mut self) -> bool {
        let Some((path, identity)) = &mut self.file else { return false };
        let current = file_identity_of(path);
        std::mem::replace(identity, current.clone()) != current
    }
}

fn file_identity_of(file: &Path) -> FileIdentity {
    let identity = identity_of(file)?;
    let metadata = std::fs::metadata(file).ok()?;
    Some((identity, metadata.size(), (metadata.ctime(), metadata.ctime_nsec())))
}

fn identity_of(dir: &Path) -> Identity {
    let path = std::fs::canonicalize(dir).ok()?;
    let metadata = std::fs::metadata(&path).ok()?;
    Some((metadata.dev(), metadata.ino(), path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Bound of a wait, which only ends a test that hangs.
    const WAIT_MAX: Duration = Duration::from_secs(20);

    async fn expect_changed(watch: &mut Watch) {
        tokio::time::timeout(WAIT_MAX, watch.wait_changed(None)).await.unwrap().unwrap();
    }

    /// Drops the reports of changes that were waited for.
    async fn drain(watch: &mut Watch) {
        while tokio::time::timeout(Duration::from_millis(300), watch.wait_changed(None)).await.is_ok() {}
    }

    #[tokio::test]
    async fn a_link_to_another_directory_is_a_change_and_the_new_directory_is_watched() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
        }
        symlink("v1", path("current")).unwrap();
        let mut watch = Watch::start(vec![path("current")], None).unwrap();
        symlink("v2", path("next")).unwrap();
        fs::rename(path("next"), path("current")).unwrap();
        expect_changed(&mut watch).await;
        drain(&mut watch).await;
        fs::write(path("v2/a.yaml"), "a").unwrap();
        expect_changed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_as_a_whole_is_a_change_and_watched() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir(path("definitions")).unwrap();
        let mut watch = Watch::start(vec![path("definitions")], None).unwrap();
        fs::rename(path("definitions"), path("old")).unwrap();
        expect_changed(&mut watch).await;
        fs::create_dir(path("definitions")).unwrap();
        expect_changed(&mut watch).await;
        drain(&mut watch).await;
        fs::write(path("definitions/a.yaml"), "a").unwrap();
        expect_changed(&mut watch).await;
    }

    #[tokio::test]
    async fn a_file_that_is_written_replaced_or_removed_is_a_change() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("greenroom.toml"), "a").unwrap();
        let mut watch = Watch::start(Vec::new(), Some(path("greenroom.toml"))).unwrap();
        drain(&mut watch).await;
        fs::write(path("greenroom.toml"), "b").unwrap();
        expect_changed(&mut watch).await;
        fs::write(path("next"), "c").unwrap();
        fs::rename(path("next"), path("greenroom.toml")).unwrap();
        expect_changed(&mut watch).await;
        fs::remove_file(path("greenroom.toml")).unwrap();
        expect_changed(&mut watch).await;
        fs::write(path("greenroom.toml"), "d").unwrap();
        expect_changed(&mut watch).await;
        drain(&mut watch).await;
        fs::write(path("beside"), "e").unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(600), watch.wait_changed(None));
        assert!(waiting.await.is_err(), "another file of its directory is no change");
    }
}
