//! The complete text of a policy is packed into a bundle as `opa build` wrote it, and only from the sources that the
//! bundle was built from.

use std::collections::BTreeMap;
use std::path::Path;

use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::bundle::complete_text::{PackError, pack};
use greenroom_rego::rego_text::TextProblem;
use greenroom_rego::{Bundle, PolicySnapshot, PolicyWarning, SnapshotError};

use crate::harness;

type Sources = BTreeMap<String, Vec<u8>>;

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// The source of one of the bundles that `build.sh` compiles for the tests.
fn source_of(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles");
    std::fs::read_to_string(folder.join(format!("{name}.rego"))).unwrap()
}

/// The policies of this crate with their tests, below a folder of this name.
fn shipped_sources(folder: &str) -> Sources {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy");
    let areas = std::fs::read_dir(policy).unwrap().map(|entry| entry.unwrap().path());
    let files = areas.flat_map(|area| std::fs::read_dir(area).unwrap().map(|entry| entry.unwrap().path()));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files
        .map(|path| {
            let key = format!("{folder}/{}/{}", name(path.parent().unwrap()), name(&path));
            (key, std::fs::read(path).unwrap())
        })
        .collect()
}

/// The bundle `own` as OPA wrote it: the rules of the entrypoints are imports.
fn own_of_opa() -> Vec<u8> {
    let imports = "package guard\n\nimport data.guard.allowed\nimport data.guard.checks\nimport data.guard.decision\n";
    harness::repacked(&harness::bundle_bytes("own"), |name, content| {
        if name.ends_with(".rego") {
            let text = std::str::from_utf8(content).unwrap();
            let rules: Vec<_> = text.split("\n\n").filter(|rule| !rule.contains("# entrypoint: true")).collect();
            *content = rules.join("\n\n").replace("package guard\n", imports).into_bytes();
        }
        true
    })
}

fn error_of(bundle: &[u8], sources: &Sources) -> PackError {
    pack(bundle, sources).map(drop).unwrap_err()
}

#[tokio::test]
async fn a_bundle_with_its_complete_text_receives_what_its_rules_read() {
    let original = own_of_opa();
    let incomplete = PolicySnapshot::load(harness::compiler(), &Bundle::read(&original).unwrap()).await.unwrap();
    let problem = TextProblem::Missing { rule: "guard/allowed".into() };
    assert_eq!(incomplete.warnings(), [PolicyWarning::NotDerived(problem)]);
    assert!(incomplete.read_set().is_whole());
    assert!(incomplete.warnings()[0].to_string().contains("`greenroom policy pack`"), "{}", incomplete.warnings()[0]);

    let files = sources(&[("own.rego", &source_of("own"))]);
    let bytes = pack(&original, &files).unwrap();
    let bundle = Bundle::read(&bytes).unwrap();
    assert_eq!(bundle.sources()["tests/bundles/own.rego"], files["own.rego"]);
    let complete = PolicySnapshot::load(harness::compiler(), &bundle).await.unwrap();
    assert_eq!(complete.read_set().paths(), ["user.id", "user.roles", "user.tenant"]);
    assert!(complete.try_read_set().await.unwrap() > 0);

    assert!(pack(&original, &files).unwrap() == bytes, "the bytes are those of the first time");
    assert!(pack(&bytes, &files).unwrap() == bytes, "a complete text is not changed");
}

#[tokio::test]
async fn the_sources_of_the_shipped_bundle_are_those_of_its_text() {
    let bytes = pack(harness::SHIPPED, &shipped_sources("elsewhere/policy")).unwrap();
    let bundle = Bundle::read(&bytes).unwrap();
    let written = shipped_sources("policy");
    assert_eq!(bundle.sources().len(), written.keys().filter(|path| !path.ends_with("_test.rego")).count());
    for (path, content) in bundle.sources() {
        assert!(*content == written[path], "{path}");
    }
    let derived = PolicySnapshot::load(harness::compiler(), &bundle).await.unwrap();
    assert_eq!(derived.read_set().paths(), harness::snapshot().await.read_set().paths());
}

#[test]
fn the_bundles_of_opa_are_completed_from_their_sources_and_tests_are_ignored() {
    for name in ["clock", "faulty", "long_texts", "misspelt", "open", "partial"] {
        let files = sources(&[("a.rego", "package other"), (&format!("{name}.rego"), &source_of(name))]);
        let extra = error_of(&harness::bundle_bytes(name), &files);
        assert!(extra.to_string().contains("the package (`other`) of the source a.rego"), "{extra}");
        let files = sources(&[("a_test.rego", "package other"), (&format!("{name}.rego"), &source_of(name))]);
        let bundle = Bundle::read(&pack(&harness::bundle_bytes(name), &files).unwrap()).unwrap();
        assert!(bundle.sources()[&format!("tests/bundles/{name}.rego")] == files[&format!("{name}.rego")], "{name}");
    }
}

#[test]
fn sources_that_the_bundle_was_not_built_from_are_refused() {
    let (bundle, text) = (own_of_opa(), source_of("own"));
    let other_package = text.replace("package guard", "package other");
    let helper = text.replace("input.user.id == \"mallory\"", "input.user.id == \"eve\"");
    let missing = text.replace("blocked if", "banned if");
    let extra = format!("{text}\nunused := 1\n");
    let import = text.replace("package guard\n", "package guard\n\nimport input.user\n");
    for (files, message) in [
        (sources(&[("policy.rego", &text)]), "no source has the name and the package (`guard`) of tests/bundles/own"),
        (
            sources(&[("own.rego", &other_package)]),
            "no source has the name and the package (`guard`) of tests/bundles/own",
        ),
        (sources(&[("a/own.rego", &text), ("b/own.rego", &text)]), "tests/bundles/own.rego may be a/own.rego or b/own"),
        (sources(&[("own.rego", &helper)]), "own.rego:22: the rule `guard.blocked` differs from the bundle's (tests/"),
        (sources(&[("own.rego", &missing)]), "own.rego does not have the rule `guard.blocked` of the bundle (tests/"),
        (sources(&[("own.rego", &extra)]), "own.rego:41: the bundle does not have the rule `guard.unused`"),
        (sources(&[("own.rego", &import)]), "the import `input.user` of own.rego is not the bundle's"),
    ] {
        let error = error_of(&bundle, &files);
        let text = error.to_string();
        assert!(text.starts_with(message), "{text}");
        assert!(text.ends_with("these sources are not what the bundle was built from"), "{text}");
        assert_eq!(Cause::from(error).code, ErrorCode::InvalidPolicy);
    }
    let unreadable = error_of(&bundle, &sources(&[("own.rego", "package guard\nallowed if (")]));
    assert_eq!(unreadable.to_string(), "own.rego:2: `)` is missing");
}

/// The text of an entrypoint cannot be compared, because the bundle does not have it: its module is tried instead.
#[tokio::test]
async fn a_source_whose_entrypoint_differs_is_found_by_the_trial() {
    let text = source_of("own").replace("if permitted\n\n# METADATA", "if input.user.roles.admin == 1\n\n# METADATA");
    assert_ne!(text, source_of("own"));
    let bytes = pack(&own_of_opa(), &sources(&[("own.rego", &text)])).unwrap();
    let loaded = PolicySnapshot::load(harness::compiler(), &Bundle::read(&bytes).unwrap()).await;
    assert!(matches!(loaded.map(drop), Err(SnapshotError::Pruning { .. })));
}

#[test]
fn a_bundle_in_another_language_is_refused_and_a_signature_left_out() {
    let files = sources(&[("own.rego", &source_of("own"))]);
    let older = harness::repacked(&own_of_opa(), |name, content| {
        if name == ".manifest" {
            *content = br#"{"rego_version": 0}"#.to_vec();
        }
        true
    });
    assert!(matches!(error_of(&older, &files), PackError::Text(TextProblem::Language)));
    assert!(matches!(error_of(b"no archive", &files), PackError::Bundle(_)));

    let bytes = pack(&with_signature(&own_of_opa()), &files).unwrap();
    assert!(bytes == pack(&own_of_opa(), &files).unwrap());
}

/// The bundle with one file more.
fn with_signature(bundle: &[u8]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bundle));
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let mut header = entry.header().clone();
        let path = entry.path().unwrap().into_owned();
        builder.append_data(&mut header, path, entry).unwrap();
    }
    let content = br#"{"signatures": ["x"]}"#;
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, ".signatures.json", content.as_slice()).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}
