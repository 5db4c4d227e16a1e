//! What a sweep marks and removes, and when: first a tombstone, long after it the removal, and never what is referenced
//! or was put again.

use super::*;
use crate::artifacts::UNREFERENCED_RETENTION;

/// A time at which the tombstones of [`NOW`] are old.
fn later() -> Timestamp {
    NOW.saturating_add(UNREFERENCED_RETENTION).saturating_add(MINUTE)
}

fn marked(tombstones: u64) -> SweepReport {
    SweepReport { tombstones, ..SweepReport::default() }
}

impl TestArtifacts {
    async fn sweep(&self, referenced: &[ContentHash], now: Timestamp) -> SweepReport {
        let report = self.store.sweep(referenced.iter().copied().collect(), None, now).await;
        report.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Puts JSON that references these artifacts.
    async fn put_references(&self, hashes: &[ContentHash]) -> ContentHash {
        let references: Vec<_> = hashes.iter().map(|hash| serde_json::json!({"$artifact": {"hash": hash}})).collect();
        self.put("acme", &serde_json::to_vec(&references).unwrap()).await
    }
}

#[tokio::test]
async fn an_unreferenced_artifact_is_marked_first_and_removed_once_its_tombstone_is_old() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let hash = artifacts.put("acme", b"unreferenced").await;
        assert_eq!(artifacts.sweep(&[], NOW).await, marked(1), "{name}");
        assert_eq!(artifacts.sweep(&[], NOW).await, marked(0), "{name}");
        let almost = NOW.saturating_add(UNREFERENCED_RETENTION);
        assert_eq!(artifacts.sweep(&[], almost).await, marked(0), "{name}");
        assert!(artifacts.get("acme", &hash).await.is_some(), "{name}: it can be read until it is removed");
        let report = SweepReport { artifacts: 1, bytes: 12, tombstones: 0 };
        assert_eq!(artifacts.sweep(&[], later()).await, report, "{name}");
        assert_eq!(artifacts.get("acme", &hash).await, None, "{name}");
        assert_eq!(artifacts.sweep(&[], later()).await, SweepReport::default(), "{name}");
        assert!(files_of(artifacts.dir.path(), "acme", &hash).is_empty(), "{name}");
        assert_eq!(artifacts.put("acme", b"unreferenced").await, hash);
        assert!(artifacts.get("acme", &hash).await.is_some(), "{name}: it can be put again");
    }
}

#[tokio::test]
async fn what_is_referenced_again_in_time_is_not_removed() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let hash = artifacts.put("acme", b"by a slow request").await;
        artifacts.sweep(&[], NOW).await;
        // The tombstone is old, but the artifact has a reference by now.
        assert_eq!(artifacts.sweep(&[hash], later()).await, marked(0), "{name}");
        assert!(artifacts.get("acme", &hash).await.is_some(), "{name}");
        // Its time begins anew once the reference is gone.
        assert_eq!(artifacts.sweep(&[], later()).await, marked(1), "{name}");
        assert_eq!(artifacts.sweep(&[], later().saturating_add(MINUTE)).await, marked(0), "{name}");
        assert!(artifacts.get("acme", &hash).await.is_some(), "{name}");
    }
}

#[tokio::test]
async fn what_was_put_again_remains_and_its_old_generation_is_removed() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let personal = ArtifactOwner { personal_data: true, ..owner("acme") };
        let hash = artifacts.store.put(&personal, b"repeated".to_vec(), "text/plain", "x").await.unwrap().hash;
        artifacts.sweep(&[], NOW).await;
        assert_eq!(artifacts.put("acme", b"repeated").await, hash);
        let report = artifacts.sweep(&[], later()).await;
        assert_eq!(report, SweepReport { artifacts: 0, bytes: 8, tombstones: 1 }, "{name}");
        let info = artifacts.store.info(&tenant("acme"), &hash).await.unwrap();
        assert_eq!(info, Some(ArtifactInfo { bytes: 8, personal_data: true }), "{name}: the mark is that of both");
        let end = later().saturating_add(UNREFERENCED_RETENTION).saturating_add(MINUTE);
        assert_eq!(artifacts.sweep(&[], end).await, SweepReport { artifacts: 1, bytes: 8, tombstones: 0 }, "{name}");
    }
}

#[tokio::test]
async fn a_referenced_artifact_ends_with_one_generation() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let hash = artifacts.put("acme", b"twice").await;
        artifacts.sweep(&[], NOW).await;
        artifacts.put("acme", b"twice").await;
        assert_eq!(artifacts.sweep(&[hash], NOW).await, marked(0), "{name}");
        artifacts.sweep(&[hash], later()).await;
        assert!(artifacts.get("acme", &hash).await.is_some(), "{name}");
        if name == "folder" {
            assert_eq!(files_of(artifacts.dir.path(), "acme", &hash).len(), 1);
        }
    }
}

#[tokio::test]
async fn the_generation_that_remains_holds_the_personal_data_of_both() {
    let folder = TestArtifacts::folder();
    let hash = folder.put("acme", b"twice").await;
    // Another pod puts it at the same time, as personal data.
    let first = files_of(folder.dir.path(), "acme", &hash).pop().unwrap();
    let second = first.with_file_name("f".repeat(32));
    std::fs::copy(&first, &second).unwrap();
    std::fs::write(second.with_extension("personal"), b"").unwrap();
    assert_eq!(folder.sweep(&[hash], NOW).await, marked(0));
    folder.sweep(&[hash], later()).await;
    assert!(first.exists() && !second.exists());
    assert!(folder.store.info(&tenant("acme"), &hash).await.unwrap().unwrap().personal_data);
}

#[tokio::test]
async fn what_a_reachable_artifact_references_is_reachable() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let inner = artifacts.put("acme", b"inner").await;
        let middle = artifacts.put_references(&[inner]).await;
        let outer = artifacts.put_references(&[middle]).await;
        let csv = artifacts.put("acme", format!("id\n{}\n", ContentHash::from_content(b"listed")).as_bytes()).await;
        let listed = artifacts.put("acme", b"listed").await;
        let alone = artifacts.put("acme", b"alone").await;
        assert_eq!(artifacts.sweep(&[outer, csv], NOW).await, marked(2), "{name}");
        let report = artifacts.sweep(&[outer, csv], later()).await;
        assert_eq!((report.artifacts, report.bytes), (2, 11), "{name}: a CSV file references nothing");
        for (hash, remains) in
            [(inner, true), (middle, true), (outer, true), (csv, true), (listed, false), (alone, false)]
        {
            assert_eq!(artifacts.get("acme", &hash).await.is_some(), remains, "{name}");
        }
        assert_eq!(artifacts.sweep(&[csv], later()).await, marked(3), "{name}: without a reference to the outer one");
        let end = later().saturating_add(UNREFERENCED_RETENTION).saturating_add(MINUTE);
        assert_eq!(artifacts.sweep(&[csv], end).await.artifacts, 3, "{name}");
    }
}

#[tokio::test]
async fn what_a_recent_artifact_references_remains_with_it() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let inner = artifacts.put("acme", b"of an old upload").await;
        artifacts.sweep(&[], NOW).await;
        // A request under way has put it, and will store a reference to it.
        let outer = artifacts.put_references(&[inner]).await;
        assert_eq!(artifacts.sweep(&[], later()).await, marked(1), "{name}");
        assert!(artifacts.get("acme", &inner).await.is_some(), "{name}");
        assert_eq!(artifacts.sweep(&[outer], later()).await, marked(0), "{name}");
        let end = later().saturating_add(UNREFERENCED_RETENTION).saturating_add(MINUTE);
        assert_eq!(artifacts.sweep(&[outer], end).await, marked(0), "{name}");
        assert!(artifacts.get("acme", &inner).await.is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_sweep_for_one_tenant_touches_no_other() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let (own, shared) = (artifacts.put("acme", b"own").await, artifacts.put("acme", b"shared").await);
        artifacts.put("globex", b"shared").await;
        let acme = tenant("acme");
        let sweep = async |now| artifacts.store.sweep(HashSet::new(), Some(&acme), now).await.unwrap();
        assert_eq!(sweep(NOW).await, marked(2), "{name}");
        assert_eq!(sweep(later()).await, SweepReport { artifacts: 2, bytes: 9, tombstones: 0 }, "{name}");
        assert_eq!((artifacts.get("acme", &own).await, artifacts.get("acme", &shared).await), (None, None), "{name}");
        assert!(artifacts.get("globex", &shared).await.is_some(), "{name}");
        assert_eq!(artifacts.sweep(&[], later()).await, marked(1), "{name}: that of the other tenant");
    }
}

#[tokio::test]
async fn puts_and_sweeps_of_several_pods_at_once_lose_nothing() {
    for artifacts in TestArtifacts::each().await {
        let name = artifacts.name;
        let mut now = NOW;
        for round in 0..20_u64 {
            now = now.saturating_add(UNREFERENCED_RETENTION).saturating_add(MINUTE);
            let acme = owner("acme");
            let sweep = |store: &Arc<dyn ArtifactStore>| {
                let store = Arc::clone(store);
                async move { store.sweep(HashSet::new(), None, now).await.unwrap() }
            };
            let put = |store: &Arc<dyn ArtifactStore>| {
                let (store, acme) = (Arc::clone(store), acme.clone());
                async move { store.put(&acme, b"contended".to_vec(), "text/plain", "x").await.unwrap().hash }
            };
            let (store, peer) = (&artifacts.store, &artifacts.peer);
            let (_, first, _, second) = tokio::join!(sweep(store), put(store), sweep(peer), put(peer));
            assert_eq!(first, second);
            assert!(artifacts.get("acme", &first).await.is_some(), "{name}: round {round}");
        }
    }
}

#[tokio::test]
async fn what_an_interrupted_put_has_written_is_removed_by_sweeps_or_by_the_next_start() {
    let folder = TestArtifacts::folder();
    let staging = folder.dir.path().join("acme").join("staging");
    std::fs::create_dir_all(&staging).unwrap();
    let unfinished = staging.join(format!("{:032x}", 7));
    std::fs::write(&unfinished, b"hal").unwrap();
    // A mark is written before the content.
    let hash = ContentHash::from_content(b"{}");
    let marks = folder.dir.path().join("acme").join(hash.to_string());
    std::fs::create_dir_all(&marks).unwrap();
    std::fs::write(marks.join(format!("{:032x}.personal", 8)), b"").unwrap();
    std::fs::write(folder.dir.path().join("notes.txt"), b"not ours").unwrap();
    std::fs::write(folder.dir.path().join("acme").join("notes.txt"), b"not ours").unwrap();
    assert_eq!(folder.store.info(&tenant("acme"), &hash).await.unwrap(), None);

    // Another pod may be writing it.
    open_fs_artifacts(folder.dir.path(), FolderSharing::SeveralProcesses, test_ids()).unwrap();
    assert_eq!(folder.sweep(&[], NOW).await, marked(0), "it is no artifact");
    assert!(unfinished.exists());
    assert_eq!(folder.sweep(&[], later()).await, SweepReport::default());
    assert!(!unfinished.exists() && !marks.exists());
    assert!(folder.dir.path().join("notes.txt").exists() && folder.dir.path().join("acme/notes.txt").exists());

    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(&unfinished, b"hal").unwrap();
    open_fs_artifacts(folder.dir.path(), FolderSharing::OneProcess, test_ids()).unwrap();
    assert!(!unfinished.exists(), "no other process is writing it");
}

#[tokio::test]
async fn nothing_is_removed_while_a_reachable_artifact_cannot_be_read() {
    let folder = TestArtifacts::folder();
    let unreferenced = folder.put("acme", b"unreferenced").await;
    let outer = folder.put_references(&[unreferenced]).await;
    folder.sweep(&[], NOW).await;
    let file = files_of(folder.dir.path(), "acme", &outer).into_iter().find(|file| file.extension().is_none()).unwrap();
    let content = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![b'['; content.len()]).unwrap();
    let error = folder.store.sweep(HashSet::from([outer]), None, later()).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert!(folder.get("acme", &unreferenced).await.is_some());
    std::fs::write(&file, content).unwrap();
    assert_eq!(folder.sweep(&[outer], later()).await, marked(0));
    assert!(folder.get("acme", &unreferenced).await.is_some(), "it is referenced");
}
