//! Artifacts: addressed by hash, bounded, never partly visible, removed only long after the last reference. The suite
//! runs in memory, in a folder and on an S3 server.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use protocol::request::ContextChange;
use protocol::value::ArtifactRef;
use protocol::{ContextKey, IdGenerator, IdempotencyKey};

use super::*;
use crate::artifacts::{ArtifactInfo, ArtifactOwner, ArtifactSource, ArtifactStore, SweepReport};
use crate::journal::Seq;
use crate::runs::DedupKey;
use crate::{FolderSharing, S3Settings, S3Timeouts, open_fs_artifacts, open_s3_artifacts};

mod content;
mod faults;
mod s3_proxy;
mod sweep;
mod tls;

/// The stores of two pods over the same objects.
struct TestArtifacts {
    name: &'static str,
    store: Arc<dyn ArtifactStore>,
    peer: Arc<dyn ArtifactStore>,
    /// Also the unique name of the objects in the bucket.
    dir: TempDir,
}

impl TestArtifacts {
    /// New stores of each implementation.
    async fn each() -> [Self; 3] {
        [Self::in_memory(), Self::folder(), Self::s3().await]
    }

    fn in_memory() -> Self {
        let store = in_memory_artifacts();
        Self { name: "memory", peer: store.clone(), store, dir: tempfile::tempdir().unwrap() }
    }

    fn folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = || open_fs_artifacts(dir.path(), FolderSharing::SeveralProcesses, test_ids()).unwrap();
        Self { name: "folder", store: open(), peer: open(), dir }
    }

    async fn s3() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = || open_s3_artifacts(s3_settings(&dir), test_ids());
        Self { name: "s3", store: open().await.unwrap(), peer: open().await.unwrap(), dir }
    }

    async fn put(&self, tenant: &str, content: &[u8]) -> ContentHash {
        self.store.put(&owner(tenant), content.to_vec(), "application/octet-stream", "x").await.unwrap().hash
    }

    async fn get(&self, name: &str, hash: &ContentHash) -> Option<Vec<u8>> {
        self.store.get(&tenant(name), hash, u64::MAX).await.unwrap()
    }
}

/// The bucket of the tests, with keys that no other test has.
pub(crate) fn s3_settings(unique: &TempDir) -> S3Settings {
    let name = unique.path().file_name().unwrap().to_str().unwrap();
    S3Settings {
        endpoint: Some(variable("GREENROOM_TEST_S3_URL")),
        ca_file: None,
        bucket: variable("GREENROOM_TEST_S3_BUCKET"),
        prefix: format!("test/{}", name.trim_start_matches('.')),
        region: "us-east-1".to_owned(),
        access_key_id: variable("GREENROOM_TEST_S3_ACCESS_KEY_ID"),
        secret_access_key: variable("GREENROOM_TEST_S3_SECRET_ACCESS_KEY"),
        timeouts: S3Timeouts::default(),
    }
}

/// A variable that the test command sets.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; `scripts/test` starts the servers and sets it"))
}

/// Ids that are unique in this process.
fn test_ids() -> Arc<dyn IdGenerator> {
    struct TestIds;
    impl IdGenerator for TestIds {
        fn next_id(&self) -> u128 {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            NEXT.fetch_add(1, Ordering::Relaxed).into()
        }
    }
    Arc::new(TestIds)
}

fn owner(name: &str) -> ArtifactOwner {
    ArtifactOwner { tenant: tenant(name), personal_data: false }
}

/// Content of which no two parts are equal.
fn content_of(length: usize) -> Vec<u8> {
    let mut content: Vec<u8> = (0_u64..).flat_map(u64::to_le_bytes).take(length).collect();
    // It is no JSON.
    if let Some(first) = content.first_mut() {
        *first = b'x';
    }
    content
}

/// The files of an artifact in a folder, by name.
fn files_of(dir: &Path, tenant: &str, hash: &ContentHash) -> Vec<PathBuf> {
    let folder = dir.join(tenant).join(hash.to_string());
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
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
        let key = ContextKey::new("notes").unwrap();
        let changed = Entry::ContextChanged { key, change, until: None, id: None, request: None };
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
