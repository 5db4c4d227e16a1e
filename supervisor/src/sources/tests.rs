//! A source that is watched by its tags: what has not changed is not read again, and a failure is none of the content.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use greenroom_registry::StoreError;

use super::*;

/// Objects with tags, as a bucket has them.
#[derive(Default)]
struct Objects {
    objects: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    reads: AtomicUsize,
}

impl Objects {
    fn put(&self, name: &str, tag: &str, content: &[u8]) {
        self.objects.lock().unwrap().insert(name.to_owned(), (tag.to_owned(), content.to_vec()));
    }

    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

#[async_trait]
impl SourceFiles for Objects {
    async fn list(&self) -> Result<Vec<ListedFile>, SourceError> {
        let objects = self.objects.lock().unwrap();
        if objects.is_empty() {
            return Err(SourceError::Store(StoreError::Timeout));
        }
        Ok(objects.iter().map(|(name, (tag, _))| ListedFile { name: name.clone(), tag: tag.clone() }).collect())
    }

    async fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let missing = || SourceError::Unreadable { path: name.to_owned(), reason: "it does not exist".to_owned() };
        let (_, content) = objects.get(name).ok_or_else(missing)?;
        Ok(content.iter().copied().take(usize::try_from(bytes_max + 1).unwrap()).collect())
    }
}

fn reader(objects: &Arc<Objects>) -> SourceReader {
    let location = SourceLocation::parse("s3://ai-agents/x").unwrap();
    SourceReader::new(location, Arc::clone(objects) as Arc<dyn SourceFiles>, BUNDLE_NAME.to_owned())
}

#[tokio::test]
async fn only_what_has_another_tag_is_read_again() {
    let objects = Arc::new(Objects::default());
    for name in ["agents/a.yaml", "agents/b.yaml", "README.md"] {
        objects.put(name, "1", name.as_bytes());
    }
    let reader = reader(&objects);
    let first = reader.definitions_fingerprint().await.unwrap();
    let files = reader.definition_files().await.unwrap();
    assert_eq!(files.name, Path::new("s3://ai-agents/x"));
    assert_eq!(files.files.keys().collect::<Vec<_>>(), ["agents/a.yaml", "agents/b.yaml"]);
    assert_eq!(objects.reads(), 2);

    objects.put("README.md", "2", b"no definition");
    assert_eq!(reader.definitions_fingerprint().await.unwrap(), first);
    objects.put("agents/b.yaml", "2", b"changed");
    assert_ne!(reader.definitions_fingerprint().await.unwrap(), first);
    let files = reader.definition_files().await.unwrap().files;
    assert_eq!((&*files["agents/b.yaml"], objects.reads()), (&b"changed"[..], 1));
}

#[tokio::test]
async fn a_source_that_fails_has_no_fingerprint() {
    let objects = Arc::new(Objects::default());
    let reader = reader(&objects);
    for failed in [reader.definitions_fingerprint().await, reader.policy_fingerprint().await] {
        assert_eq!(failed.unwrap_err().code, ErrorCode::StoreUnavailable);
    }
    assert!(reader.definition_files().await.is_err());
    objects.put("other.txt", "1", b"");
    assert_eq!(reader.bundle().await.unwrap_err().code, ErrorCode::InvalidInput, "there is no bundle");
    objects.put(BUNDLE_NAME, "1", b"not a bundle");
    assert_eq!(reader.bundle().await.unwrap_err().code, ErrorCode::InvalidPolicy);
}

#[tokio::test]
async fn the_bundle_of_a_policy_is_an_object_or_in_a_folder() {
    let location = |prefix: &str| BucketLocation { bucket: "ai-agents".to_owned(), prefix: prefix.to_owned() };
    let expected = (location("policies"), BUNDLE_NAME.to_owned());
    assert_eq!(folder_and_bundle(&location("policies")), expected);
    assert_eq!(folder_and_bundle(&location("policies/guard.tar.gz")), expected);
    assert_eq!(folder_and_bundle(&location("a/b/mine.tar.gz")), (location("a/b"), "mine.tar.gz".to_owned()));
    let shipped = include_bytes!("../../../rego/bundle/guard.tar.gz");
    let objects = Arc::new(Objects::default());
    objects.put(BUNDLE_NAME, "1", shipped);
    let reader = reader(&objects);
    assert!(reader.bundle().await.unwrap().is_embedded());
    let first = reader.policy_fingerprint().await.unwrap();
    objects.put("notes.md", "1", b"beside");
    assert_eq!(reader.policy_fingerprint().await.unwrap(), first);
    objects.put(BUNDLE_NAME, "2", shipped);
    assert_ne!(reader.policy_fingerprint().await.unwrap(), first);
}

#[test]
fn a_bucket_is_opened_with_the_settings_of_its_server_only() {
    let config = Config::defaults(Path::new("unused")).unwrap();
    let location = SourceLocation::parse("s3://ai-agents/x").unwrap();
    let Err(cause) = SourceReader::open(&location, &config) else { panic!("it is opened") };
    assert_eq!(cause.code, ErrorCode::InvalidConfiguration);
    assert!(cause.message.contains("s3://ai-agents/x") && cause.message.contains("`s3.bucket`"), "{cause}");
}
