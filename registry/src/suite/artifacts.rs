//! Artifacts: found by their hash, bounded, never half there.

use std::path::Path;

use super::*;
use crate::artifacts::{ArtifactError, Artifacts, LABEL_BYTES_MAX};
use crate::open_folder;

fn each(folder: &Path) -> [Arc<dyn Artifacts>; 2] {
    [memory_artifacts(), open_folder(folder).unwrap()]
}

fn file_of(folder: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    folder.join(&name[..2]).join(name)
}

#[tokio::test]
async fn the_same_bytes_are_kept_once_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    for store in each(folder.path()) {
        let first = store.put(b"a,b\n1,2\n".to_vec(), "text/csv", "sales.csv").await.unwrap();
        let again = store.put(b"a,b\n1,2\n".to_vec(), "text/csv", "other.csv").await.unwrap();
        assert_eq!((first.hash, first.bytes), (again.hash, 8));
        assert_eq!(store.get(&first.hash, 100).await.unwrap().as_deref(), Some(&b"a,b\n1,2\n"[..]));
        assert_eq!(store.get(&ContentHash::of(b"none"), 100).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_read_and_a_path_is_no_name() {
    let folder = tempfile::tempdir().unwrap();
    for store in each(folder.path()) {
        let kept = store.put(vec![0; 100], "text/plain", "x").await.unwrap();
        let refused = store.get(&kept.hash, 99).await.unwrap_err();
        assert!(matches!(refused, ArtifactError::TooLarge { bytes: 100, max: 99 }));
        for name in ["../x", "a/b", "", "a\0b", &"x".repeat(LABEL_BYTES_MAX + 1)] {
            let refused = store.put(vec![1], "text/plain", name).await.unwrap_err();
            assert!(matches!(refused, ArtifactError::Label), "{name:?}");
        }
    }
}

#[tokio::test]
async fn damage_is_found_and_a_half_written_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_folder(folder.path()).unwrap();
    let kept = store.put(b"true".to_vec(), "text/plain", "x").await.unwrap();
    std::fs::write(file_of(folder.path(), &kept.hash), b"lies").unwrap();
    let refused = store.get(&kept.hash, 100).await.unwrap_err();
    assert!(matches!(refused, ArtifactError::Damaged { .. }));
    let draft = folder.path().join("drafts").join("half");
    std::fs::write(&draft, b"hal").unwrap();
    open_folder(folder.path()).unwrap();
    assert!(!draft.exists());
}
