//! Artifacts: found by their hash, bounded, never half there.

use std::path::Path;

use std::collections::HashSet;

use protocol::request::ContextChange;
use protocol::value::ArtifactRef;
use protocol::{ContextKey, IdempotencyKey};

use super::*;
use crate::artifacts::{ArtifactError, ArtifactStore, LABEL_BYTES_MAX, SweepReport, UNREFERENCED_RETENTION};
use crate::context::ContextPut;
use crate::journal::Seq;
use crate::runs::DedupKey;
use crate::{StoreError, open_fs_artifacts};

fn each(folder: &Path) -> [Arc<dyn ArtifactStore>; 2] {
    [in_memory_artifacts(), open_fs_artifacts(folder).unwrap()]
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
    let store = open_fs_artifacts(folder.path()).unwrap();
    let kept = store.put(b"true".to_vec(), "text/plain", "x").await.unwrap();
    std::fs::write(file_of(folder.path(), &kept.hash), b"lies").unwrap();
    let refused = store.get(&kept.hash, 100).await.unwrap_err();
    assert!(matches!(refused, ArtifactError::Damaged { .. }));
    let draft = folder.path().join("drafts").join("half");
    std::fs::write(&draft, b"hal").unwrap();
    open_fs_artifacts(folder.path()).unwrap();
    assert!(!draft.exists());
}

#[tokio::test]
async fn what_was_put_lately_stays_though_nobody_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for store in each(folder.path()) {
        let kept = store.put(b"lately".to_vec(), "text/plain", "x").await.unwrap();
        assert_eq!(store.sweep(HashSet::new(), NOW).await.unwrap(), SweepReport::default());
        assert!(store.get(&kept.hash, 100).await.unwrap().is_some());
    }
}

/// Moves the last put of a file into the past.
fn age(folder: &Path, hash: &ContentHash) {
    let file = std::fs::File::options().append(true).open(file_of(folder, hash)).unwrap();
    let put = file.metadata().unwrap().modified().unwrap();
    file.set_modified(put - UNREFERENCED_RETENTION - MINUTE).unwrap();
}

/// When the file system says that it is.
fn now_in(folder: &Path) -> Timestamp {
    let put = std::fs::File::create(folder.join("drafts").join("now")).unwrap().metadata().unwrap().modified().unwrap();
    let since = put.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

#[tokio::test]
async fn a_sweep_drops_what_nobody_names_and_leaves_what_is_named_by_what_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(folder.path()).unwrap();
    let put = async |bytes: &[u8]| store.put(bytes.to_vec(), "application/json", "x").await.unwrap().hash;
    let inner = put(b"inner").await;
    let middle = put(format!(r#"[{{"$artifact":{{"hash":"{inner}"}}}}]"#).as_bytes()).await;
    let outer = put(format!(r#"{{"a":{{"$artifact":{{"hash":"{middle}"}}}}}}"#).as_bytes()).await;
    let (lost, also_lost) = (put(b"lost").await, put(format!(r#"{{"only":"{inner}"}}"#).as_bytes()).await);
    let (young, again) = (put(b"young").await, put(b"again").await);
    for hash in [inner, middle, outer, lost, also_lost, again] {
        age(folder.path(), &hash);
    }
    put(b"again").await;
    std::fs::write(folder.path().join("notes.txt"), b"not ours").unwrap();

    let swept = store.sweep(HashSet::from([outer]), now_in(folder.path())).await.unwrap();
    let bytes = (b"lost".len() + r#"{"only":""}"#.len() + 64) as u64;
    assert_eq!(swept, SweepReport { artifacts: 2, bytes });
    for (hash, stays) in
        [(inner, true), (middle, true), (outer, true), (young, true), (again, true), (lost, false), (also_lost, false)]
    {
        assert_eq!(store.get(&hash, 1_000).await.unwrap().is_some(), stays);
    }
    assert_eq!(store.sweep(HashSet::from([outer]), now_in(folder.path())).await.unwrap(), SweepReport::default());
    let swept = store.sweep(HashSet::new(), now_in(folder.path())).await.unwrap();
    assert_eq!(swept.artifacts, 3, "once the outer one is not named, nor is what it named");
    assert!(folder.path().join("notes.txt").exists());
}

fn artifact(name: &str) -> ArtifactRef {
    let hash = ContentHash::of(name.as_bytes());
    ArtifactRef { hash, bytes: 1, media_type: "text/csv".into(), name: name.into() }
}

#[tokio::test]
async fn journals_kept_answers_and_contexts_name_artifacts_until_they_are_pruned() {
    for fixture in TestStores::each().await {
        let stores = &fixture.stores;
        let fence = fixture.create_run(1).await;
        let (result, hash) = (ResultRef::Stored(artifact("step")), ContentHash::of(b"the value, not its place"));
        let key = StepKey { step: StepId::new("gather").unwrap(), index: None };
        let usage = protocol::reply::Usage::default();
        let entry = Entry::StepDone { key, attempt: 1, result, hash, usage, duration_ms: 1 };
        let _ = stores.journal.append(&run_id(1), fence, Seq(0), &[entry, ended()], NOW).await.unwrap();
        let once = DedupKey::Caller(IdempotencyKey::new("k").unwrap());
        stores.idempotency.begin(&tenant("acme"), &once, &ContentHash::of(b"body"), NOW).await.unwrap();
        let outputs = Values::from([("file".to_owned(), artifact("answer").to_json())]);
        let answer = Reply { outputs, ..reply("req_1") };
        stores.idempotency.finish(&tenant("acme"), &once, &answer, NOW).await.unwrap();
        let fence = stores.context.claim(&run_id(2)).await.unwrap();
        let change = ContextChange::Put(serde_json::json!({ "kept": [artifact("shared").to_json()] }));
        let put = ContextPut { key: ContextKey::new("notes").unwrap(), expect: None, change, ttl: None };
        stores.context.write(&run_id(2), fence, put, NOW).await.unwrap();

        let named = stores.maintenance.referenced_artifacts().await.unwrap();
        for name in ["step", "answer", "shared"] {
            assert!(named.contains(&artifact(name).hash), "{name}");
        }
        // The process dies after this: the next one finds that nothing names them.
        stores.runs.prune(NOW.saturating_add(MINUTE)).await.unwrap();
        stores.idempotency.prune(NOW.saturating_add(MINUTE)).await.unwrap();
        let named = stores.maintenance.referenced_artifacts().await.unwrap();
        assert!(!named.contains(&artifact("step").hash) && !named.contains(&artifact("answer").hash));
        assert!(named.contains(&artifact("shared").hash));
    }
}

#[tokio::test]
async fn nothing_is_swept_if_what_stays_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(folder.path()).unwrap();
    let lost = store.put(b"lost".to_vec(), "text/plain", "x").await.unwrap().hash;
    age(folder.path(), &lost);
    // A folder where a file should be: it can be opened, but not read.
    let odd = ContentHash::of(b"odd");
    std::fs::create_dir_all(file_of(folder.path(), &odd)).unwrap();
    let refused = store.sweep(HashSet::from([odd]), now_in(folder.path())).await.unwrap_err();
    assert!(matches!(refused, StoreError::Failed(_)));
    assert!(store.get(&lost, 100).await.unwrap().is_some());
}
