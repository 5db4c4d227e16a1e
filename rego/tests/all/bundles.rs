//! Bundles that are not what they should be: each is refused with a sentence, and nothing is run.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use greenroom_protocol::{Cause, ErrorCode};
use greenroom_rego::bundle::{BUNDLE_BYTES_MAX, BUNDLE_NAME, DATA_BYTES_MAX, FILES_MAX};
use greenroom_rego::{Bundle, BundleError};

type Entry<'a> = (&'a str, Vec<u8>);

/// A tar whose names are written as they are given: the crate's own builder refuses the bad ones.
fn packed(entries: &[Entry<'_>], kind: tar::EntryType) -> Vec<u8> {
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

fn whole() -> Vec<Entry<'static>> {
    vec![("/policy.wasm", wasm()), ("/data.json", b"{}".to_vec()), ("/.manifest", b"{}".to_vec())]
}

fn refusal(entries: &[Entry<'_>]) -> BundleError {
    Bundle::read(&packed(entries, tar::EntryType::Regular)).unwrap_err()
}

fn replaced(name: &str, content: &[u8]) -> Vec<Entry<'static>> {
    whole().into_iter().map(|(path, old)| if path == name { (path, content.to_vec()) } else { (path, old) }).collect()
}

#[test]
fn a_whole_one_is_read_and_named_after_its_hash() {
    let bundle = Bundle::read(&packed(&whole(), tar::EntryType::Regular)).unwrap();
    assert_eq!(bundle.revision(), bundle.hash().short());
}

#[test]
fn garbage_and_a_cut_file_are_corrupt() {
    let bytes = packed(&whole(), tar::EntryType::Regular);
    for bytes in [b"not a tar".as_slice(), &[], &bytes[..bytes.len() / 2]] {
        let refused = Bundle::read(bytes).unwrap_err();
        assert!(matches!(refused, BundleError::Corrupt(_) | BundleError::Missing { .. }), "{refused}");
        assert_eq!(Cause::from(refused).code, ErrorCode::InvalidPolicy);
    }
}

#[test]
fn a_missing_file_is_named() {
    for missing in ["policy.wasm", "data.json", ".manifest"] {
        let rest: Vec<_> = whole().into_iter().filter(|(path, _)| !path.ends_with(missing)).collect();
        assert_eq!(refusal(&rest).to_string(), format!("the bundle has no {missing}"));
    }
}

#[test]
fn a_path_that_leads_out_is_refused() {
    for path in ["../policy.wasm", "/a/../../b", "/"] {
        assert!(matches!(refusal(&[(path, Vec::new())]), BundleError::Path { .. }), "{path}");
    }
    let linked = packed(&[("policy.wasm", Vec::new())], tar::EntryType::Symlink);
    assert!(matches!(Bundle::read(&linked), Err(BundleError::Path { .. })));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_unpacked() {
    let bytes = usize::try_from(BUNDLE_BYTES_MAX).unwrap() + 1;
    assert!(matches!(Bundle::read(&vec![0; bytes]), Err(BundleError::TooLarge { .. })));
    let bomb = packed(&[("/zeros", vec![0; 17 << 20])], tar::EntryType::Regular);
    assert!(bomb.len() < 200_000, "it is small until it is unpacked");
    assert!(matches!(Bundle::read(&bomb), Err(BundleError::TooLarge { .. })));
    let many: Vec<_> = (0..=FILES_MAX).map(|number| format!("/{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), Vec::new())).collect();
    assert!(matches!(refusal(&many), BundleError::TooLarge { unit: "files", .. }));
    let data = format!("\"{}\"", "x".repeat(DATA_BYTES_MAX));
    assert!(matches!(refusal(&replaced("/data.json", data.as_bytes())), BundleError::TooLarge { .. }));
}

#[test]
fn json_that_is_none_and_a_module_that_is_none_are_named() {
    for (name, message) in [
        ("/data.json", "data.json of the bundle cannot be read"),
        ("/.manifest", ".manifest of the bundle cannot be read"),
        ("/policy.wasm", "policy.wasm is not a policy"),
    ] {
        let refused = refusal(&replaced(name, b"{ nothing"));
        assert!(refused.to_string().starts_with(message), "{refused}");
    }
}

#[test]
fn a_directory_without_a_compiled_bundle_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("guard.rego"), "package guard").unwrap();
    let refused = Bundle::open(folder.path()).unwrap_err();
    assert!(refused.to_string().contains("opa build"), "{refused}");
    let mut file = std::fs::File::create(folder.path().join(BUNDLE_NAME)).unwrap();
    file.write_all(&packed(&whole(), tar::EntryType::Regular)).unwrap();
    drop(file);
    assert!(Bundle::open(folder.path()).is_ok());
    let missing = Bundle::open(&folder.path().join("nowhere.tar.gz")).unwrap_err();
    assert!(matches!(missing, BundleError::Unreadable { .. }));
}
