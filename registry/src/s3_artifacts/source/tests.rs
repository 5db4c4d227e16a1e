//! A bucket as a source, on the S3 server of the tests.

use greenroom_protocol::ErrorCode;
use object_store::{PutOptions, PutPayload};
use tempfile::TempDir;

use super::*;
use crate::suite::artifacts::s3_settings;

/// Objects below a prefix of their own.
struct Bucket {
    settings: S3Settings,
    client: AmazonS3,
    _unique: TempDir,
}

impl Bucket {
    fn new() -> Self {
        let unique = tempfile::tempdir().unwrap();
        let settings = s3_settings(&unique);
        let client = client::build(&settings).unwrap();
        Self { settings, client, _unique: unique }
    }

    /// Puts an object under the prefix and a name, which begins with `/` below it.
    async fn put(&self, name: &str, content: &str) {
        let path = Path::parse(format!("{}{name}", self.settings.prefix)).unwrap();
        let payload = PutPayload::from(content.as_bytes().to_vec());
        self.client.put_opts(&path, payload, PutOptions::default()).await.unwrap();
    }

    fn source(&self) -> Arc<dyn SourceFiles> {
        open_s3_source(self.settings.clone()).unwrap()
    }
}

#[tokio::test]
async fn the_objects_below_a_prefix_are_listed_by_name_and_hidden_ones_are_not() {
    let bucket = Bucket::new();
    for name in ["/b.yaml", "/a/x y.yaml", "/.git/config", "/a/.x.yaml.swp", "-beside/c.yaml"] {
        bucket.put(name, name).await;
    }
    bucket.put("/empty.yaml", "").await;
    let source = bucket.source();
    let names: Vec<String> = source.list().await.unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["a/x y.yaml", "b.yaml", "empty.yaml"]);
    assert_eq!(source.get("a/x y.yaml", 100).await.unwrap(), b"/a/x y.yaml");
    assert_eq!(source.get("b.yaml", 3).await.unwrap(), b"/b.y", "one byte more than is allowed");
    assert_eq!(source.get("empty.yaml", 3).await.unwrap(), b"");
}

#[tokio::test]
async fn a_tag_changes_with_the_content_of_its_object_only() {
    let bucket = Bucket::new();
    bucket.put("/a.yaml", "1").await;
    bucket.put("/b.yaml", "1").await;
    let source = bucket.source();
    let before = source.list().await.unwrap();
    bucket.put("/a.yaml", "2").await;
    let after = source.list().await.unwrap();
    assert_ne!(before[0].tag, after[0].tag);
    assert_eq!((&before[1], source.list().await.unwrap()), (&after[1], after.clone()));
}

#[tokio::test]
async fn a_missing_object_is_the_mistake_of_its_user_and_a_missing_bucket_is_not() {
    let bucket = Bucket::new();
    let source = bucket.source();
    assert!(source.list().await.unwrap().is_empty(), "nothing is below the prefix");
    let error = source.get("guard.tar.gz", 3).await.unwrap_err();
    assert_eq!(error.cause().code, ErrorCode::InvalidInput);
    assert!(error.to_string().contains("/guard.tar.gz cannot be read: there is no such object"), "{error}");
    let missing = S3Settings { bucket: "greenroom-no-such-bucket".to_owned(), ..bucket.settings.clone() };
    let source = open_s3_source(missing).unwrap();
    for error in [source.list().await.unwrap_err(), source.get("a.yaml", 3).await.unwrap_err()] {
        assert_eq!(error.cause().code, ErrorCode::StoreUnavailable, "{error}");
    }
}
