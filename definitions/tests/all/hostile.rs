//! Files that try to break the parser.

use std::fmt::Write as _;

use proptest::prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_oneof, proptest};

use crate::folder::{Folder, agent};
use crate::shipped::shipped_files;

fn problem(bytes: impl AsRef<[u8]>) -> String {
    let problems = Folder::new().with("agents/x.yaml", bytes).problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.into_iter().next().unwrap()
}

/// Every hostile file is parsed on a stack of the platform's smallest size.
fn on_a_small_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn_scoped(scope, work).unwrap().join().unwrap();
    });
}

#[test]
fn exponential_aliases_are_rejected() {
    let mut expanding = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        let row = [before.as_str(); 9].join(", ");
        writeln!(expanding, "a{level}: &a{level} [{row}]").unwrap();
    }
    let found = problem(&expanding);
    assert!(found.contains("error[too_large]: the file has more than 20000 values, aliases included"), "{found}");
}

#[test]
fn many_aliases_are_refused() {
    let found = problem(format!("a: &a x\nb: [{}]\n", vec!["*a"; 200].join(", ")));
    assert!(found.contains("error[alias]: the file has more than 100 aliases"), "{found}");
}

#[test]
fn aliases_of_long_texts_are_bounded_by_their_bytes() {
    let long = "x".repeat(200_000);
    let list = format!("a: &a {long}\nb: [{}]\n", ["*a"; 90].join(", "));
    let nested = format!("a: {}&z {long}{}\n", (0..25).map(|n| format!("&n{n} [")).collect::<String>(), "]".repeat(25));
    let levels = format!("a: &a {long}\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n");
    for text in [list, nested, levels] {
        let found = problem(&text);
        assert!(found.contains("error[too_large]: the texts of the file have more than 1048576 bytes"), "{found}");
    }
    // An alias of a long text is fine.
    let text = agent("x").replace("name: An agent", "name: &name An agent").replace("It does something", "*name");
    assert_eq!(Folder::new().with("agents/x.yaml", text).problems(), Vec::<String>::new());
}

#[test]
fn a_merge_key_is_refused_with_its_line() {
    for (line, text) in [
        (2, "base: &base { a: 1 }\n<<: *base\n".to_owned()),
        (11, agent("x") + "limits: { <<: { max_tokens: 5 } }\n"),
        (12, agent("x") + "limits:\n  <<: [{ max_tokens: 5 }]\n"),
    ] {
        let found = problem(&text);
        assert!(found.starts_with(&format!("agents/x.yaml:{line}:")), "{found}");
        assert!(found.contains("merge keys (`<<`) are not part of YAML 1.2; write the members out"), "{found}");
    }
    let quoted = "team_id: t\nname: T\nagents: [x]\nshared_context: { \"<<\": 1 }\n";
    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("teams/t.yaml", quoted);
    assert_eq!(folder.problems(), Vec::<String>::new());
}

#[test]
fn a_duplicate_key_is_found_in_every_notation() {
    for keys in [
        "a: 1\n\"a\": 2",
        "a: 1\n'a': 2",
        "1: a\n\"1\": b",
        "true: 1\n\"true\": 2",
        "? a\n: 1\n? a\n: 2",
        "{ a: 1, \"\\x61\": 2 }",
        "x: &k a\na: 1\n*k : 2",
    ] {
        let found = problem(format!("{keys}\n"));
        assert!(found.contains("error[duplicate_key]"), "{keys:?}: {found}");
    }
}

#[test]
fn an_alias_of_itself_is_refused() {
    let found = problem("a: &a [*a]\n");
    assert!(
        found.starts_with("agents/x.yaml:1:8: error[alias]: this alias refers to the value that contains it"),
        "{found}"
    );
}

#[test]
fn deep_nesting_is_rejected_in_every_form() {
    on_a_small_stack(|| {
        let flow = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
        let maps = format!("a: {}x{}\n", "{a: ".repeat(20_000), "}".repeat(20_000));
        let dashes = format!("a:\n  {}x\n", "- ".repeat(20_000));
        let mut block = String::new();
        for depth in 0..300 {
            writeln!(block, "{}a:", " ".repeat(depth)).unwrap();
        }
        for text in [flow, maps, dashes, block] {
            let found = problem(&text);
            assert!(found.contains("nested deeper than 32") || found.contains("recursion limit"), "{found}");
        }
    });
}

#[test]
fn depth_hidden_in_aliases_is_refused() {
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..60 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    let found = problem(&text);
    assert!(found.contains("error[too_deep]"), "{found}");
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let found = problem("# \n".repeat(200_000));
    assert!(found.starts_with("agents/x.yaml: error[too_large]: the file has 262145 bytes"), "{found}");
}

#[test]
fn a_byte_that_is_not_utf8_is_reported_at_its_position() {
    let found = problem(b"agent_id: x\nname: \xff\xfe\n");
    assert_eq!(found, "agents/x.yaml:2:7: error[not_utf8]: the byte 0xff is not UTF-8; save the file as UTF-8");
}

#[test]
fn invalid_yaml_is_reported_with_its_position() {
    for text in ["a: [1, 2\n", "a: b: c\n", "a: 'x\n", "%YAML 9\n---\na", "a: 1\n b: 2\n", "\0", "a: [}"] {
        let found = problem(text);
        assert!(found.contains(": error[syntax]: "), "{text:?}: {found}");
    }
}

#[test]
fn an_empty_file_is_reported() {
    for text in ["", "# only a comment\n", "---\n"] {
        let found = problem(text);
        assert!(
            found.contains("error[syntax]: the file is empty") || found.contains("found nothing"),
            "{text:?}: {found}"
        );
    }
    assert!(problem("- a\n- b\n").contains("error[wrong_type]: found a list; expected an agent, which is a map"));
    assert!(problem("just text").contains("error[wrong_type]: found the text \"just text\""));
}

#[test]
fn tags_second_documents_and_odd_keys_are_rejected() {
    assert!(problem("a: !!python/object:os.system x\n").contains("error[syntax]: a tag"));
    assert!(problem("a: 1\n---\nb: 2\n").contains("error[syntax]: a second document begins here"));
    assert!(problem("? [a]\n: b\n").contains("error[wrong_type]: a list is not a name"));
    assert!(problem("a: 1\na: 2\n").starts_with("agents/x.yaml:2:1: error[duplicate_key]: `a` is duplicated"));
}

#[test]
fn a_nested_duplicate_key_is_reported() {
    let text = agent("x").replace("runtime: native,", "runtime: native, runtime: llm,");
    assert!(problem(text).contains("error[duplicate_key]: `runtime` is duplicated"));
}

#[test]
fn numbers_at_their_ends_do_not_panic() {
    for number in
        ["9223372036854775807", "18446744073709551615", "1e308", "1e999", "-0", "0x7fffffffffffffff", ".inf", ".nan"]
    {
        let text = agent("x") + &format!("limits: {{ max_tokens: {number}, max_cost_usd: {number} }}\n");
        let problems = Folder::new().with("agents/x.yaml", text).problems();
        assert!(!problems.is_empty(), "{number}");
    }
}

#[test]
fn a_missing_folder_is_reported() {
    let folder = Folder::new();
    let missing = folder.path().join("nowhere");
    let loaded =
        greenroom_definitions::load(&greenroom_definitions::Source::Directory(missing), &crate::folder::known_names());
    assert!(loaded.catalogue.is_none());
    let first = loaded.report.problems()[0].to_string();
    assert!(first.contains("error[unreadable]: the folder cannot be read"), "{first}");
    assert!(loaded.report.to_cause().is_some());
}

/// Replaces a part of the text; both ends are moved to character boundaries.
fn spliced(text: &str, from: usize, length: usize, with: &str) -> String {
    let from = from % (text.len() + 1);
    let (start, end) = (text.floor_char_boundary(from), text.floor_char_boundary(from + length));
    format!("{}{with}{}", &text[..start], &text[end..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn no_change_of_a_shipped_file_makes_the_loader_panic(
        file in 0..shipped_files().len(),
        changes in prop::collection::vec(
            (any::<usize>(), 0_usize..40, prop_oneof!["[a-z:{}\\[\\]\"'|>&*!#%$ \\n0-9.-]{0,12}", Just("${".to_owned()), Just("{{".to_owned())]),
            1..4,
        )
    ) {
        let (name, text) = &shipped_files()[file];
        let changed = changes.iter().fold(text.clone(), |text, (from, length, with)| spliced(&text, *from, *length, with));
        let loaded = Folder::new().with(name, changed).load();
        prop_assert!(loaded.catalogue.is_some() || loaded.report.has_errors());
        let quarantined = loaded.catalogue.map_or(0, |catalogue| catalogue.quarantined().len());
        prop_assert!(quarantined == 0 || loaded.report.has_errors());
    }
}

#[test]
fn a_folder_without_definitions_is_a_mistake() {
    let folder = Folder::new().with("notes.txt", "nothing");
    let problems = folder.problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].ends_with("error[unreadable]: the folder holds no definitions"), "{problems:?}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_a_pipe_is_not_opened() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    let elsewhere = Folder::new().with("team/x.yaml", agent("x"));
    let folder = Folder::new().with("agents/y.yaml", agent("y"));
    symlink(elsewhere.path().join("team"), folder.path().join("agents/linked")).unwrap();
    // A link to its own folder is followed up to the maximum nesting.
    symlink(folder.path().join("agents"), folder.path().join("agents/.hidden")).unwrap();
    assert_eq!(folder.problems(), Vec::<String>::new());
    assert_eq!(folder.load().catalogue.unwrap().agent_count(), 2);

    let _socket = UnixListener::bind(folder.path().join("agents/socket.yaml")).unwrap();
    symlink("nowhere", folder.path().join("agents/broken.yaml")).unwrap();
    let problems = folder.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with("agents/broken.yaml: error[unreadable]: the file cannot be read: "),
        "{problems:?}"
    );
    assert_eq!(problems[1], "agents/socket.yaml: error[unreadable]: this is not a file");
}
