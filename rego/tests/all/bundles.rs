//! Malformed bundles: each is rejected with a message, and nothing in it is executed.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::bundle::{BUNDLE_BYTES_MAX, BUNDLE_NAME, DATA_BYTES_MAX, FILES_MAX};
use greenroom_rego::{Bundle, BundleError};

type Entry<'a> = (&'a str, Vec<u8>);

/// Packs a tar with these exact names: the checked functions of the tar crate reject the bad ones.
fn pack(entries: &[Entry<'_>], kind: tar::EntryType) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in entries {
        let mut header = tar::Header::new_old();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_entry_type(kind);
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn wasm() -> Vec<u8> {
    Bundle::embedded().unwrap().wasm().to_vec()
}

fn valid_entries() -> Vec<Entry<'static>> {
    vec![("/policy.wasm", wasm()), ("/data.json", b"{}".to_vec()), ("/.manifest", b"{}".to_vec())]
}

fn read_error(entries: &[Entry<'_>]) -> BundleError {
    Bundle::read(&pack(entries, tar::EntryType::Regular)).unwrap_err()
}

fn entries_with(name: &str, content: &[u8]) -> Vec<Entry<'static>> {
    valid_entries()
        .into_iter()
        .map(|(path, old)| if path == name { (path, content.to_vec()) } else { (path, old) })
        .collect()
}

#[test]
fn a_bundle_without_a_revision_is_named_after_its_hash() {
    let bundle = Bundle::read(&pack(&valid_entries(), tar::EntryType::Regular)).unwrap();
    assert_eq!(bundle.revision(), bundle.hash().short());
}

#[test]
fn garbage_and_a_truncated_file_are_corrupt() {
    let bytes = pack(&valid_entries(), tar::EntryType::Regular);
    for bytes in [b"not a tar".as_slice(), &[], &bytes[..bytes.len() / 2]] {
        let error = Bundle::read(bytes).unwrap_err();
        assert!(matches!(error, BundleError::Corrupt(_) | BundleError::Missing { .. }), "{error}");
        assert_eq!(Cause::from(error).code, ErrorCode::InvalidPolicy);
    }
}

#[test]
fn a_missing_file_is_named() {
    for missing in ["policy.wasm", "data.json", ".manifest"] {
        let remaining: Vec<_> = valid_entries().into_iter().filter(|(path, _)| !path.ends_with(missing)).collect();
        assert_eq!(read_error(&remaining).to_string(), format!("the bundle has no {missing}"));
    }
}

#[test]
fn a_path_that_leads_out_of_the_bundle_is_rejected() {
    for path in ["../policy.wasm", "/a/../../b", "/"] {
        assert!(matches!(read_error(&[(path, Vec::new())]), BundleError::Path { .. }), "{path}");
    }
    let symlink = pack(&[("policy.wasm", Vec::new())], tar::EntryType::Symlink);
    assert!(matches!(Bundle::read(&symlink), Err(BundleError::Path { .. })));
}

#[test]
fn a_bundle_above_a_limit_is_rejected_before_it_is_unpacked() {
    let bytes = usize::try_from(BUNDLE_BYTES_MAX).unwrap() + 1;
    assert!(matches!(Bundle::read(&vec![0; bytes]), Err(BundleError::TooLarge { .. })));
    let compressed = pack(&[("/zeros", vec![0; 17 << 20])], tar::EntryType::Regular);
    assert!(compressed.len() < 200_000, "the packed bundle is small");
    assert!(matches!(Bundle::read(&compressed), Err(BundleError::TooLarge { .. })));
    let paths: Vec<_> = (0..=FILES_MAX).map(|number| format!("/{number}")).collect();
    let entries: Vec<_> = paths.iter().map(|name| (name.as_str(), Vec::new())).collect();
    assert!(matches!(read_error(&entries), BundleError::TooLarge { unit: "files", .. }));
    let data = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
    assert!(matches!(read_error(&entries_with("/data.json", data.as_bytes())), BundleError::TooLarge { .. }));
}

#[test]
fn invalid_json_and_an_invalid_module_are_named() {
    for (name, message) in [
        ("/data.json", "data.json of the bundle cannot be read"),
        ("/.manifest", ".manifest of the bundle cannot be read"),
        ("/policy.wasm", "policy.wasm is not a policy"),
    ] {
        let error = read_error(&entries_with(name, b"{ nothing"));
        assert!(error.to_string().starts_with(message), "{error}");
    }
}

#[test]
fn a_directory_without_a_compiled_bundle_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guard.rego"), "package guard").unwrap();
    let error = Bundle::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("opa build"), "{error}");
    let mut file = std::fs::File::create(folder.path().join(BUNDLE_NAME)).unwrap();
    file.write_all(&pack(&valid_entries(), tar::EntryType::Regular)).unwrap();
    drop(file);
    assert!(Bundle::open(folder.path()).is_ok());
    let missing = Bundle::open(&folder.path().join("nowhere.tar.gz")).unwrap_err();
    assert!(matches!(missing, BundleError::Unreadable { .. }));
}
