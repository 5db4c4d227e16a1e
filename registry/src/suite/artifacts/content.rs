//! What is put and read: bytes in chunks, ranges, tenants, bounds.

use std::future;
use std::ops::Range;

use futures::{StreamExt, TryStreamExt, stream};
use protocol::{Cause, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::artifacts::{ARTIFACT_BYTES_MAX, ArtifactError, LABEL_BYTES_MAX, WHOLE};

fn chunks_of(content: &[u8], length: usize) -> ArtifactSource<'static> {
    let chunks: Vec<_> = content.chunks(length).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks).boxed()
}

async fn read(store: &dyn ArtifactStore, hash: &ContentHash, range: Range<u64>) -> Vec<u8> {
    store.read(&tenant("acme"), hash, range).await.unwrap().unwrap().collect().await.unwrap()
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_and_read_back() {
    for TestArtifacts { store, peer, name, .. } in TestArtifacts::each().await {
        let first = store.put(&owner("acme"), b"a,b\n1,2\n".to_vec(), "text/csv", "sales.csv").await.unwrap();
        let repeated = peer.put(&owner("acme"), b"a,b\n1,2\n".to_vec(), "text/csv", "other.csv").await.unwrap();
        assert_eq!((first.hash, first.bytes), (repeated.hash, 8), "{name}");
        let bytes = store.get(&tenant("acme"), &first.hash, 100).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(&b"a,b\n1,2\n"[..]), "{name}");
        assert_eq!(store.get(&tenant("acme"), &ContentHash::from_content(b"none"), 100).await.unwrap(), None);
        let empty = store.put(&owner("acme"), Vec::new(), "text/plain", "empty.txt").await.unwrap();
        assert_eq!(store.get(&tenant("acme"), &empty.hash, 0).await.unwrap(), Some(Vec::new()), "{name}");
    }
    let folder = TestArtifacts::folder();
    let hash = folder.put("acme", b"once").await;
    folder.put("acme", b"once").await;
    assert_eq!(files_of(folder.dir.path(), "acme", &hash).len(), 1);
}

#[tokio::test]
async fn an_artifact_exists_for_each_tenant_that_has_put_it_only() {
    for TestArtifacts { store, name: implementation, .. } in TestArtifacts::each().await {
        let bytes = b"quarterly figures".to_vec();
        let hash = store.put(&owner("acme"), bytes.clone(), "text/plain", "x").await.unwrap().hash;
        let length = bytes.len() as u64;
        let info = async |name: &str| store.info(&tenant(name), &hash).await.unwrap();
        assert_eq!(info("acme").await, Some(ArtifactInfo { bytes: length, personal_data: false }), "{implementation}");
        for other in ["globex", "ACME", "acm"] {
            assert_eq!(store.get(&tenant(other), &hash, 1_000).await.unwrap(), None, "{other}");
            // The size of an artifact of another tenant is not reported either.
            assert_eq!(store.get(&tenant(other), &hash, 1).await.unwrap(), None, "{other}");
            assert_eq!(info(other).await, None, "{other}");
            store.mark_personal_data(&tenant(other), &hash).await.unwrap();
            assert_eq!(info(other).await, None, "{other}");
        }
        for other in ["globex", "ACME"] {
            store.put(&owner(other), bytes.clone(), "text/plain", "x").await.unwrap();
            assert_eq!(store.get(&tenant(other), &hash, 1_000).await.unwrap().as_ref(), Some(&bytes));
        }
        store.mark_personal_data(&tenant("globex"), &hash).await.unwrap();
        assert_eq!(info("globex").await, Some(ArtifactInfo { bytes: length, personal_data: true }));
        assert_eq!(info("acme").await, Some(ArtifactInfo { bytes: length, personal_data: false }));
        store.put(&owner("globex"), bytes, "text/plain", "x").await.unwrap();
        assert!(info("globex").await.unwrap().personal_data, "a later put does not remove the mark");
        let personal = ArtifactOwner { personal_data: true, ..owner("acme") };
        store.put(&personal, b"quarterly figures".to_vec(), "text/plain", "x").await.unwrap();
        assert!(info("acme").await.unwrap().personal_data, "a later put adds it");
    }
}

#[tokio::test]
async fn a_stream_is_stored_and_read_in_ranges() {
    // Three parts of S3, and a last chunk that is shorter.
    let content = content_of(20 * 1024 * 1024 + 7);
    for TestArtifacts { store, name, .. } in TestArtifacts::each().await {
        let tenant_of_parts = if name == "s3" { "ACME" } else { "acme" };
        store.put_stream(&owner(tenant_of_parts), chunks_of(&content, 999_983), "text/plain", "x").await.unwrap();
        let chunks = chunks_of(&content, 1024 * 1024);
        let stored = store.put_stream(&owner("acme"), chunks, "text/plain", "Übersicht 100%.txt").await.unwrap();
        assert_eq!((stored.hash, stored.bytes), (ContentHash::from_content(&content), content.len() as u64), "{name}");
        assert!(read(&*store, &stored.hash, WHOLE).await == content, "{name}");
        let mib = 1024 * 1024;
        for range in [0..0, 0..1, 5..17, 4 * mib - 3..4 * mib + 3, 8 * mib - 1..19 * mib, 20 * mib..u64::MAX] {
            let end = usize::try_from(range.end.min(stored.bytes)).unwrap();
            let expected = &content[usize::try_from(range.start).unwrap()..end];
            assert!(read(&*store, &stored.hash, range.clone()).await == expected, "{name}: {range:?}");
        }
        let after = store.read(&tenant("acme"), &stored.hash, 30 * mib..31 * mib).await.unwrap().unwrap();
        assert_eq!((after.bytes, after.range.is_empty()), (stored.bytes, true), "{name}");
        assert!(after.collect().await.unwrap().is_empty(), "{name}");
        let largest = store.read(&tenant("acme"), &stored.hash, WHOLE).await.unwrap().unwrap().chunks;
        let largest =
            largest.try_fold(0_usize, |largest, chunk| async move { Ok(largest.max(chunk.len())) }).await.unwrap();
        assert!(name == "memory" || largest <= 4 * 1024 * 1024, "{name}: a chunk has {largest} bytes");
    }
}

#[tokio::test]
async fn nothing_is_visible_until_the_content_is_complete() {
    let content = content_of(9 * 1024 * 1024);
    let hash = ContentHash::from_content(&content);
    for TestArtifacts { store, peer, name, .. } in TestArtifacts::each().await {
        let (tx, rx) = mpsc::channel(1);
        let chunks = stream::unfold(rx, |mut rx| async move { rx.recv().await.map(|chunk| (chunk, rx)) }).boxed();
        let acme = owner("acme");
        let putting = store.put_stream(&acme, chunks, "text/plain", "x");
        let sending = async {
            for chunk in content.chunks(1024 * 1024) {
                tx.send(Ok(Bytes::copy_from_slice(chunk))).await.unwrap();
                assert_eq!(peer.info(&tenant("acme"), &hash).await.unwrap(), None, "{name}");
            }
            drop(tx);
        };
        let (stored, ()) = tokio::join!(putting, sending);
        assert_eq!(stored.unwrap().hash, hash);
        assert!(peer.info(&tenant("acme"), &hash).await.unwrap().is_some(), "{name}");
    }
}

#[tokio::test]
async fn content_that_ends_with_an_error_is_not_stored() {
    let content = content_of(9 * 1024 * 1024);
    let hash = ContentHash::from_content(&content);
    for TestArtifacts { store, name, dir, .. } in TestArtifacts::each().await {
        let failing = || {
            let cause = Cause::new(ErrorCode::PathNotAllowed, "the disk was removed");
            chunks_of(&content, 1024 * 1024).chain(stream::iter([Err(cause)])).boxed()
        };
        let error = store.put_stream(&owner("acme"), failing(), "text/plain", "x").await.unwrap_err();
        assert_eq!(error.cause().code, ErrorCode::PathNotAllowed, "{name}");
        assert_eq!(store.info(&tenant("acme"), &hash).await.unwrap(), None, "{name}");
        // A caller that no longer waits, once all chunks were taken from the source.
        let (end, is_at_end) = oneshot::channel();
        let stalled = stream::once(async move {
            let _ = end.send(());
            future::pending::<Result<Bytes, Cause>>().await
        });
        let acme = owner("acme");
        let mut putting =
            store.put_stream(&acme, chunks_of(&content, 1024 * 1024).chain(stalled).boxed(), "text/plain", "x");
        tokio::select! {
            stored = &mut putting => panic!("{name}: {stored:?}"),
            ended = is_at_end => ended.unwrap(),
        }
        drop(putting);
        assert_eq!(store.info(&tenant("acme"), &hash).await.unwrap(), None, "{name}");
        let staging = dir.path().join("acme").join("staging");
        let staged = std::fs::read_dir(staging).map_or(0, Iterator::count);
        assert_eq!(staged, 0, "{name}: an unfinished file is removed at once");
    }
}

#[tokio::test]
async fn an_artifact_over_the_limit_is_not_read_and_a_path_is_no_name() {
    for TestArtifacts { store, .. } in TestArtifacts::each().await {
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
async fn a_stream_is_bounded_whatever_its_source() {
    let folder = TestArtifacts::folder();
    let chunk = Bytes::from(vec![0; 8 * 1024 * 1024]);
    let endless = stream::repeat_with(move || Ok(chunk.clone())).boxed();
    let error = folder.store.put_stream(&owner("acme"), endless, "text/plain", "x").await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { bytes, max: ARTIFACT_BYTES_MAX } if bytes > ARTIFACT_BYTES_MAX));
    assert_eq!(error.cause().code, ErrorCode::PayloadTooLarge);
}

#[tokio::test]
async fn damage_is_detected_before_the_last_chunk_and_in_each_range() {
    let folder = TestArtifacts::folder();
    let hash = folder.put("acme", b"true").await;
    let file = files_of(folder.dir.path(), "acme", &hash).pop().unwrap();
    let acme = tenant("acme");
    for damaged in [&b"fake"[..], b"tru", b"trueish", b""] {
        std::fs::write(&file, damaged).unwrap();
        let error = folder.store.get(&acme, &hash, 100).await.unwrap_err();
        assert!(matches!(error, ArtifactError::Damaged { .. }), "{damaged:?}");
        assert_eq!(error.cause().code, ErrorCode::StoreUnavailable);
    }
    // A file that shrinks after its size was read.
    std::fs::write(&file, b"true").unwrap();
    let content = folder.store.read(&acme, &hash, 1..4).await.unwrap().unwrap();
    std::fs::write(&file, b"tr").unwrap();
    assert!(matches!(content.collect().await, Err(ArtifactError::Damaged { .. })));
}
