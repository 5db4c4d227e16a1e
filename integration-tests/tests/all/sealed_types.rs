//! What must not compile outside of its crate: making a witness, sending a permit, using one twice,
//! naming a store or an actor's messages. Each attempt is given to the compiler against the crates that
//! this test was built with, and must fail with the error that the wall gives, not with another one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A wall: what it guards, the attempt, the crate attempted, and the compiler's error.
type Wall = (&'static str, &'static str, &'static str, &'static str);

/// A private field was named, or a field is missing that cannot be named.
const PRIVATE_FIELD: &str = "E0451";
/// A private field was read.
const PRIVATE_VALUE: &str = "E0616";
/// A private item was named.
const PRIVATE_ITEM: &str = "E0603";
/// There is no such method.
const NO_METHOD: &str = "E0599";
/// A value was used after it had been given away.
const MOVED: &str = "E0382";

const WALLS: &[Wall] = &[
    (
        "a permit is made by the guard only",
        "pub fn f<T>(p: Permitted<T>, grant: Grant) -> Permitted<u8> { drop(p); Permitted { grant, what: 1 } }",
        "rego",
        PRIVATE_FIELD,
    ),
    ("a permit is used once", "pub fn f(p: Permitted<u8>) { drop(p.redeem()); drop(p.redeem()); }", "rego", MOVED),
    ("a permit is not copied", "pub fn f(p: Permitted<u8>) -> Permitted<u8> { p.clone() }", "rego", NO_METHOD),
    (
        "a verdict is made by an engine only",
        "pub fn f(v: Verdict) -> Verdict { Verdict { grounds: None, ..v } }",
        "rego",
        PRIVATE_FIELD,
    ),
    ("a verdict is not copied", "pub fn f(v: Verdict) -> Verdict { v.clone() }", "rego", NO_METHOD),
    (
        "nobody is authenticated by hand",
        "pub fn f(a: Authenticated, request: greenroom_protocol::Request) -> Authenticated { Authenticated { request, ..a } }",
        "rego",
        PRIVATE_FIELD,
    ),
    (
        "a receipt is made by a journal only",
        "pub fn f(r: journal::Receipt, run: greenroom_protocol::RunId) -> journal::Receipt { journal::Receipt { run, ..r } }",
        "registry",
        PRIVATE_FIELD,
    ),
    (
        "a bracket is made by the audit only",
        "pub fn f(b: &audit::Bracket) { let audit::Bracket { abandoned, .. } = b; }",
        "registry",
        PRIVATE_FIELD,
    ),
    ("a bracket is closed once", "pub fn f(b: audit::Bracket) -> [audit::Bracket; 2] { [b, b] }", "registry", MOVED),
    (
        "a reservation is made by a ledger only",
        "pub fn f(r: &ledger::Reservation) { let ledger::Reservation { key, .. } = r; }",
        "registry",
        PRIVATE_FIELD,
    ),
    ("a store is a trait", "pub fn f(_: greenroom_registry::memory::runs::Memory) {}", "registry", PRIVATE_ITEM),
    (
        "what was decided is done with a receipt only",
        "pub fn f(d: run::machine::Decision) -> usize { d.effects.len() }",
        "actors",
        PRIVATE_VALUE,
    ),
    (
        "an actor's messages are its own",
        "pub fn f(_: greenroom_actors::team::actor::TeamMsg) {}",
        "actors",
        PRIVATE_ITEM,
    ),
];

/// Where this test's own dependencies lie.
fn libraries() -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    this.parent().expect("a test lies in a folder").to_path_buf()
}

/// The crate as it was built last: cargo keeps older builds beside it.
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

/// What the compiler says to a source that may use the crate and the wire; empty if it compiles.
fn said(source: &str, name: &str, number: usize) -> String {
    let folder = libraries();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wall_{number}.rs"));
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
fn what_is_walled_off_does_not_compile_and_for_that_reason() {
    let mut problems = Vec::new();
    for (number, (wall, source, name, error)) in WALLS.iter().enumerate() {
        let text = said(source, name, number);
        if text.is_empty() {
            problems.push(format!("{wall}: this compiles:\n    {source}"));
        } else if !text.contains(&format!("error[{error}]")) {
            problems.push(format!("{wall}: expected {error} from\n    {source}\n{text}"));
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn what_is_not_walled_off_compiles() {
    let sources = [
        ("rego", "pub fn f(p: Permitted<u8>) -> (Grant, u8) { p.redeem() }"),
        ("registry", "pub fn f(r: &journal::Receipt, s: &Stores) { let _ = (r, &s.journal); }"),
        ("actors", "pub fn f(s: &stage::Stage) { let _ = s; }"),
    ];
    for (number, (name, source)) in sources.iter().enumerate() {
        let text = said(source, name, WALLS.len() + number);
        assert!(text.is_empty(), "{source}\n{text}");
    }
}
