//! The trials that have passed, so that the next start does not repeat them. A verdict is an empty file
//! that is named by what was tried. It is only a saving of time: if it cannot be read or written, the
//! policy is tried again.

use std::path::PathBuf;

use greenroom_protocol::ContentHash;
use tokio::fs;

/// Verdicts that are stored. If there are more, all are removed: each belongs to a bundle of the past.
const VERDICTS_MAX: usize = 64;

/// The directory of the verdicts; none if nothing is cached.
#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Verdicts(pub(in crate::snapshot) Option<PathBuf>);

impl Verdicts {
    /// True if a trial with this key has passed.
    pub(super) async fn contain(&self, key: &ContentHash) -> bool {
        match &self.0 {
            Some(directory) => fs::try_exists(directory.join(key.to_string())).await.unwrap_or(false),
            None => false,
        }
    }

    /// Stores that the trial with this key has passed.
    pub(super) async fn record(&self, key: &ContentHash) {
        let Some(directory) = &self.0 else { return };
        if count(directory).await >= VERDICTS_MAX {
            let _ = fs::remove_dir_all(directory).await;
        }
        let _ = fs::create_dir_all(directory).await;
        let _ = fs::write(directory.join(key.to_string()), []).await;
    }
}

async fn count(directory: &PathBuf) -> usize {
    let Ok(mut entries) = fs::read_dir(directory).await else { return 0 };
    let mut count = 0;
    while count < VERDICTS_MAX && matches!(entries.next_entry().await, Ok(Some(_))) {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn verdicts_are_stored_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts(Some(folder.path().join("cache/trials")));
        let key = |number: usize| ContentHash::from_content(number.to_string().as_bytes());
        assert!(!verdicts.contain(&key(0)).await);
        for number in 0..VERDICTS_MAX {
            verdicts.record(&key(number)).await;
        }
        assert!(verdicts.contain(&key(0)).await && verdicts.contain(&key(VERDICTS_MAX - 1)).await);
        verdicts.record(&key(VERDICTS_MAX)).await;
        assert!(!verdicts.contain(&key(0)).await && verdicts.contain(&key(VERDICTS_MAX)).await);
    }

    #[tokio::test]
    async fn without_a_directory_nothing_is_stored() {
        for verdicts in [Verdicts(None), Verdicts(Some("/dev/null/trials".into()))] {
            let key = ContentHash::from_content(b"a");
            verdicts.record(&key).await;
            assert!(!verdicts.contain(&key).await);
        }
    }
}
