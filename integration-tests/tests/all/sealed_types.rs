//! Code that must not compile outside of its crate: constructing a proof type, copying a permit, using one
//! twice, naming a store or an actor's messages. The compiler gets each attempt with the crates that this
//! test was built with, and must reject it with the expected error, not with another one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A case: the rule, the attempt, the crate of the type, and the compiler's error.
type SealedCase = (&'static str, &'static str, &'static str, &'static str);

/// A private field was named, or a field is missing that cannot be named.
const PRIVATE_FIELD: &str = "E0451";
/// A private field was read.
const PRIVATE_VALUE: &str = "E0616";
/// A private item was named.
const PRIVATE_ITEM: &str = "E0603";
/// There is no such method.
const NO_METHOD: &str = "E0599";
/// A value was used after it had been moved.
const MOVED: &str = "E0382";

const SEALED: &[SealedCase] = &[
    (
        "only the guard creates a permit",
        "pub fn f<T>(p: Permitted<T>, grant: Grant) -> Permitted<u8> { drop(p); Permitted { grant, request: 1 } }",
        "rego",
        PRIVATE_FIELD,
    ),
    ("a permit is used once", "pub fn f(p: Permitted<u8>) { drop(p.redeem()); drop(p.redeem()); }", "rego", MOVED),
    ("a permit is not copied", "pub fn f(p: Permitted<u8>) -> Permitted<u8> { p.clone() }", "rego", NO_METHOD),
    (
        "only an engine creates a policy decision",
        "pub fn f(d: PolicyDecision) -> PolicyDecision { PolicyDecision { details: None, ..d } }",
        "rego",
        PRIVATE_FIELD,
    ),
    (
        "a policy decision is not copied",
        "pub fn f(d: PolicyDecision) -> PolicyDecision { d.clone() }",
        "rego",
        NO_METHOD,
    ),
    (
        "only the authenticator creates an authenticated request",
        "pub fn f(a: Authenticated, request: greenroom_protocol::Request) -> Authenticated { Authenticated { request, ..a } }",
        "rego",
        PRIVATE_FIELD,
    ),
    (
        "only a journal creates a receipt",
        "pub fn f(r: journal::Receipt, run: greenroom_protocol::RunId) -> journal::Receipt { journal::Receipt { run, ..r } }",
        "registry",
        PRIVATE_FIELD,
    ),
    (
        "only the audit creates an open entry",
        "pub fn f(e: &audit::OpenAuditEntry) { let audit::OpenAuditEntry { on_drop, .. } = e; }",
        "registry",
        PRIVATE_FIELD,
    ),
    (
        "an open entry is closed once",
        "pub fn f(e: audit::OpenAuditEntry) -> [audit::OpenAuditEntry; 2] { [e, e] }",
        "registry",
        MOVED,
    ),
    (
        "only a ledger creates a reservation",
        "pub fn f(r: &ledger::Reservation) { let ledger::Reservation { key, .. } = r; }",
        "registry",
        PRIVATE_FIELD,
    ),
    (
        "a store is only reachable through its trait",
        "pub fn f(_: greenroom_registry::in_memory::runs::InMemoryRuns) {}",
        "registry",
        PRIVATE_ITEM,
    ),
    (
        "effects are released by a receipt only",
        "pub fn f(d: run::machine::Decision) -> usize { d.effects.len() }",
        "actors",
        PRIVATE_VALUE,
    ),
    (
        "an actor's messages are private",
        "pub fn f(_: greenroom_actors::team::actor::TeamMsg) {}",
        "actors",
        PRIVATE_ITEM,
    ),
];

/// The folder of this test's own dependencies.
fn libraries() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    this.parent().expect("a test binary is in a folder").to_path_buf()
}

/// The latest build of the crate: cargo keeps older builds in the same folder.
fn newest(folder: &Path, name: &str) -> PathBuf {
    let start = format!("libgreenroom_{name}-");
    let built = std::fs::read_dir(folder).expect("the folder of this test can be read").filter_map(Result::ok);
    built
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rlib"))
        .filter(|path| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&start)))
        .max_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
        .unwrap_or_else(|| panic!("{start}*.rlib is not in {}", folder.display()))
}

/// The compiler's errors for a source that may use the crate and `protocol`; empty if it compiles.
fn compiler_errors(source: &str, name: &str, number: usize) -> String {
    let folder = libraries();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sealed_{number}.rs"));
    std::fs::write(&file, format!("#![allow(unused)]\nuse greenroom_{name}::*;\n{source}\n"))
        .expect("a file is written");
    let external = |name: &str| format!("greenroom_{name}={}", newest(&folder, name).display());
    let output = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=short", "--cap-lints=allow"])
        .arg("--out-dir")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("-L")
        .arg(format!("dependency={}", folder.display()))
        .args(["--extern", &external(name), "--extern", &external("protocol")])
        .arg(&file)
        .output()
        .expect("the compiler can be started");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { String::new() } else { text }
}

#[test]
fn sealed_code_does_not_compile_for_the_expected_reason() {
    let mut problems = Vec::new();
    for (number, (case, source, name, error)) in SEALED.iter().enumerate() {
        let text = compiler_errors(source, name, number);
        if text.is_empty() {
            problems.push(format!("{case}: this compiles:\n    {source}"));
        } else if !text.contains(&format!("error[{error}]")) {
            problems.push(format!("{case}: expected {error} from\n    {source}\n{text}"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn public_code_compiles() {
    let sources = [
        ("rego", "pub fn f(p: Permitted<u8>) -> (Grant, u8) { p.redeem() }"),
        ("registry", "pub fn f(r: &journal::Receipt, s: &Stores) { let _ = (r, &s.journal); }"),
        ("actors", "pub fn f(d: &dispatcher::Dispatcher) { let _ = d; }"),
    ];
    for (number, (name, source)) in sources.iter().enumerate() {
        let text = compiler_errors(source, name, SEALED.len() + number);
        assert!(text.is_empty(), "{source}\n{text}");
    }
}
