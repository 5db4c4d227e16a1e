//! Artifacts: addressed by hash, bounded, never partly stored.

use std::path::Path;

use std::collections::HashSet;

use protocol::request::ContextChange;
use protocol::value::ArtifactRef;
use protocol::{ContextKey, IdempotencyKey};

use super::*;
use crate::artifacts::{
    ArtifactError, ArtifactInfo, ArtifactOwner, ArtifactStore, LABEL_BYTES_MAX, SweepReport, UNREFERENCED_RETENTION,
};
use crate::journal::Seq;
use crate::runs::DedupKey;
use crate::{StoreError, open_fs_artifacts};

fn each(dir: &Path) -> [Arc<dyn ArtifactStore>; 2] {
    [in_memory_artifacts(), open_fs_artifacts(dir).unwrap()]
}

fn owner(name: &str) -> ArtifactOwner {
    ArtifactOwner { tenant: tenant(name), personal_data: false }
}

fn file_of(dir: &Path, hash: &ContentHash) -> PathBuf {
    let name = hash.to_string();
    dir.join(&name[..2]).join(name)
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    for store in each(dir.path()) {
        let first = store.put(&owner("acme"), b"a,b\n1,2\n".to_vec(), "text/csv", "sales.csv").await.unwrap();
        let repeated = store.put(&owner("acme"), b"a,b\n1,2\n".to_vec(), "text/csv", "other.csv").await.unwrap();
        assert_eq!((first.hash, first.bytes), (repeated.hash, 8));
        assert_eq!(store.get(&tenant("acme"), &first.hash, 100).await.unwrap().as_deref(), Some(&b"a,b\n1,2\n"[..]));
        assert_eq!(store.get(&tenant("acme"), &ContentHash::from_content(b"none"), 100).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_bytes_are_stored_once_and_exist_for_each_tenant_that_has_put_them_only() {
    let dir = tempfile::tempdir().unwrap();
    for store in each(dir.path()) {
        let bytes = b"quarterly figures".to_vec();
        let stored = store.put(&owner("acme"), bytes.clone(), "text/plain", "x").await.unwrap();
        let (hash, length) = (stored.hash, bytes.len() as u64);
        let info = async |name: &str| store.info(&tenant(name), &hash).await.unwrap();
        assert_eq!(info("acme").await, Some(ArtifactInfo { bytes: length, personal_data: false }));
        for other in ["globex", "ACME", "acm"] {
            assert_eq!(store.get(&tenant(other), &hash, 1_000).await.unwrap(), None, "{other}");
            // The size of an artifact of another tenant is not reported either.
            assert_eq!(store.get(&tenant(other), &hash, 1).await.unwrap(), None, "{other}");
            assert_eq!(info(other).await, None, "{other}");
            store.mark_personal_data(&tenant(other), &hash).await.unwrap();
            assert_eq!(info(other).await, None, "{other}");
        }
        store.put(&owner("globex"), bytes.clone(), "text/plain", "x").await.unwrap();
        assert_eq!(store.get(&tenant("globex"), &hash, 1_000).await.unwrap(), Some(bytes));
        store.mark_personal_data(&tenant("globex"), &hash).await.unwrap();
        assert_eq!(info("globex").await, Some(ArtifactInfo { bytes: length, personal_data: true }));
        assert_eq!(info("acme").await, Some(ArtifactInfo { bytes: length, personal_data: false }));
        store.put(&owner("globex"), b"quarterly figures".to_vec(), "text/plain", "x").await.unwrap();
        assert!(info("globex").await.unwrap().personal_data, "a later put does not remove the mark");
    }
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().count();
    let blob = file_of(dir.path(), &ContentHash::from_content(b"quarterly figures"));
    assert_eq!(files(blob.parent().unwrap().to_owned()), 2, "one file and its owners");
}

#[tokio::test]
async fn an_artifact_over_the_limit_is_not_read_and_a_path_is_no_name() {
    let dir = tempfile::tempdir().unwrap();
    for store in each(dir.path()) {
        let stored = store.put(&owner("acme"), vec![0; 100], "text/plain", "x").await.unwrap();
        let error = store.get(&tenant("acme"), &stored.hash, 99).await.unwrap_err();
        assert!(matches!(error, ArtifactError::TooLarge { bytes: 100, max: 99 }));
        for name in ["../x", "a/b", "", "a\0b", &"x".repeat(LABEL_BYTES_MAX + 1)] {
            let error = store.put(&owner("acme"), vec![1], "text/plain", name).await.unwrap_err();
            assert!(matches!(error, ArtifactError::Label), "{name:?}");
        }
    }
}

#[tokio::test]
async fn damage_is_detected_and_a_partly_written_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(dir.path()).unwrap();
    let stored = store.put(&owner("acme"), b"true".to_vec(), "text/plain", "x").await.unwrap();
    std::fs::write(file_of(dir.path(), &stored.hash), b"fake").unwrap();
    let error = store.get(&tenant("acme"), &stored.hash, 100).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Damaged { .. }));
    let staging_file = dir.path().join("staging").join("half");
    std::fs::write(&staging_file, b"hal").unwrap();
    open_fs_artifacts(dir.path()).unwrap();
    assert!(!staging_file.exists());
}

#[tokio::test]
async fn a_recent_artifact_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    for store in each(dir.path()) {
        let stored = store.put(&owner("acme"), b"recent".to_vec(), "text/plain", "x").await.unwrap();
        assert_eq!(store.sweep(HashSet::new(), None, NOW).await.unwrap(), SweepReport::default());
        assert!(store.get(&tenant("acme"), &stored.hash, 100).await.unwrap().is_some());
    }
}

/// Sets the time of a file's last put to before the retention.
fn age(dir: &Path, hash: &ContentHash) {
    let file = std::fs::File::options().append(true).open(file_of(dir, hash)).unwrap();
    let put = file.metadata().unwrap().modified().unwrap();
    file.set_modified(put - UNREFERENCED_RETENTION - MINUTE).unwrap();
}

/// The current time of the file system.
fn now_in(dir: &Path) -> Timestamp {
    let put = std::fs::File::create(dir.join("staging").join("now")).unwrap().metadata().unwrap().modified().unwrap();
    let since = put.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

#[tokio::test]
async fn a_sweep_removes_unreferenced_artifacts_and_retains_reachable_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(dir.path()).unwrap();
    let put =
        async |bytes: &[u8]| store.put(&owner("acme"), bytes.to_vec(), "application/json", "x").await.unwrap().hash;
    let inner = put(b"inner").await;
    let middle = put(format!(r#"[{{"$artifact":{{"hash":"{inner}"}}}}]"#).as_bytes()).await;
    let outer = put(format!(r#"{{"a":{{"$artifact":{{"hash":"{middle}"}}}}}}"#).as_bytes()).await;
    let (unreferenced, also_unreferenced) =
        (put(b"unreferenced").await, put(format!(r#"{{"only":"{inner}"}}"#).as_bytes()).await);
    let (recent, repeated) = (put(b"recent").await, put(b"repeated").await);
    for hash in [inner, middle, outer, unreferenced, also_unreferenced, repeated] {
        age(dir.path(), &hash);
    }
    put(b"repeated").await;
    std::fs::write(dir.path().join("notes.txt"), b"not ours").unwrap();

    let report = store.sweep(HashSet::from([outer]), None, now_in(dir.path())).await.unwrap();
    let bytes = (b"unreferenced".len() + r#"{"only":""}"#.len() + 64) as u64;
    assert_eq!(report, SweepReport { artifacts: 2, bytes });
    for (hash, is_retained) in [
        (inner, true),
        (middle, true),
        (outer, true),
        (recent, true),
        (repeated, true),
        (unreferenced, false),
        (also_unreferenced, false),
    ] {
        assert_eq!(store.get(&tenant("acme"), &hash, 1_000).await.unwrap().is_some(), is_retained);
    }
    assert_eq!(store.sweep(HashSet::from([outer]), None, now_in(dir.path())).await.unwrap(), SweepReport::default());
    let report = store.sweep(HashSet::new(), None, now_in(dir.path())).await.unwrap();
    assert_eq!(report.artifacts, 3, "without a reference to the outer one, the inner ones are unreferenced too");
    assert!(dir.path().join("notes.txt").exists());
}

#[tokio::test]
async fn a_sweep_for_one_tenant_leaves_what_another_tenant_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(dir.path()).unwrap();
    let put = async |name: &str, bytes: &[u8]| {
        let hash = store.put(&owner(name), bytes.to_vec(), "text/plain", "x").await.unwrap().hash;
        age(dir.path(), &hash);
        hash
    };
    let (own, shared, foreign) =
        (put("acme", b"own").await, put("acme", b"shared").await, put("globex", b"other").await);
    put("globex", b"shared").await;
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let report = store.sweep(HashSet::new(), Some(&acme), now_in(dir.path())).await.unwrap();
    assert_eq!(report, SweepReport { artifacts: 2, bytes: 9 }, "only what belongs to the tenant is counted");
    assert_eq!(store.get(&acme, &own, 100).await.unwrap(), None);
    assert_eq!(store.get(&acme, &shared, 100).await.unwrap(), None);
    assert!(store.get(&globex, &shared, 100).await.unwrap().is_some());
    assert!(store.get(&globex, &foreign, 100).await.unwrap().is_some());
    assert!(!file_of(dir.path(), &own).exists(), "nobody has it");
    let report = store.sweep(HashSet::new(), None, now_in(dir.path())).await.unwrap();
    assert_eq!(report, SweepReport { artifacts: 2, bytes: 11 });
    assert!(!file_of(dir.path(), &shared).with_extension("owners").exists());
}

fn artifact(name: &str) -> ArtifactRef {
    let hash = ContentHash::from_content(name.as_bytes());
    ArtifactRef { hash, bytes: 1, media_type: "text/csv".into(), name: name.into() }
}

#[tokio::test]
async fn journals_replies_and_contexts_reference_artifacts_until_pruned() {
    for fixture in TestStores::each().await {
        let stores = &fixture.stores;
        let fence = fixture.create_run(1).await;
        let (result, hash) = (ResultRef::Stored(artifact("step")), ContentHash::from_content(b"the value"));
        let key = StepKey { step: StepId::new("collect").unwrap(), index: None };
        let usage = protocol::reply::Usage::default();
        let entry = Entry::StepDone { key, attempt: 1, result, hash, usage, duration_ms: 1 };
        let _ = fixture.append(&run_id(1), fence, Seq(0), &[entry, ended()], NOW).await.unwrap();
        let dedup_key = DedupKey::Caller { principal: principal("alice"), key: IdempotencyKey::new("k").unwrap() };
        let (_, reserved) = fixture.begin(&tenant("acme"), &dedup_key, &ContentHash::from_content(b"body")).await;
        let outputs = Values::from([("file".to_owned(), artifact("reply").to_json())]);
        let reply = Reply { outputs, ..reply("req_1") };
        stores.core.finish_key(reserved.unwrap(), &reply, NOW).await.unwrap();
        let fence = fixture.create_run(2).await;
        let change = ContextChange::Put(serde_json::json!({ "files": [artifact("shared").to_json()] }));
        let changed = Entry::ContextChanged { key: ContextKey::new("notes").unwrap(), change, until: None };
        let _ = fixture.append(&run_id(2), fence, Seq(0), &[changed], NOW).await.unwrap();

        let referenced = stores.maintenance.referenced_artifacts().await.unwrap();
        for name in ["step", "reply", "shared"] {
            assert!(referenced.contains(&artifact(name).hash), "{name}");
        }
        // After pruning nothing references them.
        stores.maintenance.prune_runs(None, NOW.saturating_add(MINUTE)).await.unwrap();
        stores.maintenance.prune_keys(None, NOW.saturating_add(MINUTE)).await.unwrap();
        let referenced = stores.maintenance.referenced_artifacts().await.unwrap();
        assert!(!referenced.contains(&artifact("step").hash) && !referenced.contains(&artifact("reply").hash));
        assert!(referenced.contains(&artifact("shared").hash));
    }
}

#[tokio::test]
async fn nothing_is_swept_if_a_reachable_artifact_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_fs_artifacts(dir.path()).unwrap();
    let unreferenced = store.put(&owner("acme"), b"unreferenced".to_vec(), "text/plain", "x").await.unwrap().hash;
    age(dir.path(), &unreferenced);
    // A directory instead of a file can be opened, but not read.
    let odd = ContentHash::from_content(b"odd");
    std::fs::create_dir_all(file_of(dir.path(), &odd)).unwrap();
    let error = store.sweep(HashSet::from([odd]), None, now_in(dir.path())).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
    assert!(store.get(&tenant("acme"), &unreferenced, 100).await.unwrap().is_some());
}
