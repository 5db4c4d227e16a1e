//! The bucket of artifacts and its keys, and which pods share artifacts.

use greenroom_registry::ArtifactLocation;

use super::{environment, file};
use crate::config::artifacts::S3Endpoint;
use crate::config::source::{load, load_users};
use crate::config::{ArtifactsConfig, Flags};

const BUCKET: [(&str, &str); 4] = [
    ("S3_ENDPOINT", "http://127.0.0.1:9000/"),
    ("S3_BUCKET", "ai-agents"),
    ("S3_ACCESS_KEY_ID", "key-of-a-test"),
    ("S3_SECRET_ACCESS_KEY", "hunter2"),
];

#[test]
fn a_bucket_is_configured_with_its_keys_which_are_masked() {
    let loaded = load(&Flags::default(), environment(&BUCKET).into_iter()).unwrap();
    let s3 = loaded.config.artifacts.s3.clone().unwrap();
    assert_eq!(s3.endpoint, S3Endpoint::Url("http://127.0.0.1:9000".into()));
    assert_eq!((s3.bucket.as_str(), s3.region.as_str()), ("ai-agents", "us-east-1"));
    assert_eq!((s3.access_key_id.reveal(), s3.secret_access_key.reveal()), ("key-of-a-test", "hunter2"));
    assert!(loaded.config.artifacts.are_shared() && loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    assert!(!text.contains("hunter2") && !text.contains("key-of-a-test"), "{text}");
    let aws = load(&Flags::default(), environment(&BUCKET[1..]).into_iter()).unwrap();
    assert_eq!(aws.config.artifacts.s3.unwrap().endpoint, S3Endpoint::Aws);
    let authority = environment(&[&BUCKET[1..], &[("S3_CA_FILE", "/etc/ca.pem")]].concat());
    let s3 = load(&Flags::default(), authority.into_iter()).unwrap().config.artifacts.s3.unwrap();
    assert_eq!(s3.ca_file, Some("/etc/ca.pem".into()));
}

#[test]
fn a_bucket_that_cannot_be_used_is_a_problem_of_its_setting() {
    for (name, value, problem) in [
        ("S3_ACCESS_KEY_ID", "", "s3.access_key_id is not"),
        ("S3_SECRET_ACCESS_KEY", "hunter2\nhunter2", "s3.secret_access_key: it contains"),
        ("S3_BUCKET", "ai-agents/artifacts", "s3.bucket"),
        ("S3_REGION", "eu west", "s3.region"),
        ("S3_ENDPOINT", "127.0.0.1:9000", "s3.endpoint"),
        ("S3_ENDPOINT", "ftp://host", "s3.endpoint"),
        ("S3_ENDPOINT", "https://user:hunter2@host", "s3.endpoint"),
        ("S3_ENDPOINT", "https://host/path", "s3.endpoint"),
        ("S3_ENDPOINT", "http://[::1", "s3.endpoint"),
        ("S3_CA_FILE", "/etc/ca.pem", "s3.ca_file is set"),
    ] {
        let others = BUCKET.into_iter().filter(|(known, _)| *known != name);
        let variables: Vec<_> = others.chain([(name, value)]).collect();
        let problems = load(&Flags::default(), environment(&variables).into_iter()).unwrap_err().0;
        assert!(problems.len() == 1 && problems[0].contains(problem), "{name}={value:?}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn settings_of_a_bucket_without_its_name_are_a_warning() {
    let variables = environment(&[("S3_ENDPOINT", "http://h"), ("S3_SECRET_ACCESS_KEY", "hunter2")]);
    let loaded = load(&Flags::default(), variables.into_iter()).unwrap();
    assert_eq!(loaded.config.artifacts, ArtifactsConfig::default());
    let expected = "s3.endpoint, s3.secret_access_key is set without s3.bucket, so artifacts are stored in a folder";
    assert_eq!(loaded.warnings, [expected]);
}

#[test]
fn the_users_of_a_file_are_read_again_although_the_keys_of_its_bucket_are_in_the_environment() {
    let (_dir, flags) = file("[s3]\nbucket = \"ai-agents\"\n\n[[users]]\nname = \"clara\"\n");
    let load_with = |keys: &[(&str, &str)]| load(&flags, environment(keys).into_iter());
    assert!(load_with(&BUCKET[2..]).is_ok());
    let problems = load_with(&[]).unwrap_err().0;
    assert!(problems.len() == 2 && problems[1].contains("s3.secret_access_key is not"), "{problems:?}");
    assert!(load_users(flags.config.as_deref().unwrap()).is_ok());
}

#[test]
fn pods_share_artifacts_in_a_bucket_or_in_a_folder_that_all_of_them_mount() {
    let load_with = |variables: &[(&str, &str)]| {
        load(&Flags::default(), environment(variables).into_iter()).unwrap().config.artifacts
    };
    let shared = ("GREENROOM_ARTIFACTS_SHARED", "true");
    for (variables, location) in [
        (&[][..], ArtifactLocation::OwnFolder),
        (&[shared][..], ArtifactLocation::SharedFolder),
        (&BUCKET[..], ArtifactLocation::Bucket("http://127.0.0.1:9000/ai-agents/artifacts".to_owned())),
        (&BUCKET[1..], ArtifactLocation::Bucket("s3://ai-agents/artifacts".to_owned())),
    ] {
        let artifacts = load_with(variables);
        assert_eq!((artifacts.location(), artifacts.are_shared()), (location, !variables.is_empty()), "{variables:?}");
    }
}
