//! Files as editors, file systems and other systems write them: each loads, or its line and the true reason are
//! reported.

use crate::folder::{Folder, agent};

/// The problems of a file `agents/x.yaml`.
fn problems(bytes: impl AsRef<[u8]>) -> Vec<String> {
    Folder::new().with("agents/x.yaml", bytes).problems()
}

fn only_problem(bytes: impl AsRef<[u8]>) -> String {
    let found = problems(bytes);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn a_byte_order_mark_at_the_start_and_windows_line_ends_are_read() {
    assert_eq!(problems(format!("\u{feff}{}", agent("x").replace('\n', "\r\n"))), Vec::<String>::new());
    assert_eq!(problems(agent("x").replace('\n', "\r")), Vec::<String>::new());
    assert_eq!(problems(format!("\u{feff}---\n{}...\n", agent("x"))), Vec::<String>::new());
}

#[test]
fn a_byte_order_mark_elsewhere_is_named_in_its_line() {
    for (line, text) in [
        (2, format!("---\n\u{feff}# a comment\n{}", agent("x"))),
        (1, format!("\u{feff}\u{feff}{}", agent("x"))),
        (3, agent("x").replace("category", "\u{feff}category")),
        (2, agent("x").replace("An agent", "An agent\u{feff}")),
    ] {
        let found = only_problem(&text);
        assert!(found.starts_with(&format!("agents/x.yaml:{line}:")), "{found}");
        assert!(found.contains("byte order mark"), "{found}");
    }
}

#[test]
fn other_encodings_are_named() {
    let text = agent("x");
    for (encoding, bytes) in [
        ("UTF-16", [vec![0xff, 0xfe], utf16(&text, u16::to_le_bytes)].concat()),
        ("UTF-16", [vec![0xfe, 0xff], utf16(&text, u16::to_be_bytes)].concat()),
        ("UTF-16", utf16(&text, u16::to_le_bytes)),
        ("UTF-16", utf16(&text, u16::to_be_bytes)),
        ("UTF-32", text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect()),
    ] {
        let expected =
            format!("agents/x.yaml:1:1: error[not_utf8]: the file is {encoding}, not UTF-8; save the file as UTF-8");
        assert_eq!(only_problem(bytes), expected);
    }
    let latin = only_problem([agent("x").as_bytes(), b"# caf\xe9\n"].concat());
    assert!(latin.starts_with("agents/x.yaml:11:6: error[not_utf8]: the byte 0xe9 is not UTF-8"), "{latin}");
}

#[test]
fn a_hard_space_in_the_layout_is_named_in_its_line() {
    let block = agent("x").replace(
        "implementation: { runtime: native, handler: native.echo }\n",
        "implementation:\n  runtime: native\n  handler: native.echo\n",
    );
    assert_eq!(problems(&block), Vec::<String>::new());
    let spaces = ['\u{a0}', '\u{2003}', '\u{202f}', '\u{3000}', '\u{200b}', '\u{2009}'];
    for space in spaces {
        for (line, from, to) in [
            (11, "  runtime", format!("{space} runtime")),
            (11, "  runtime", format!(" {space}runtime")),
            (11, "  runtime", format!("{space}{space}runtime")),
            (12, "  handler", format!("{space}{space}handler")),
            (12, "  handler", format!("  {space}handler")),
            (2, "name: An", format!("name:{space}An")),
            (2, "name: An", format!("name: {space}An")),
            (2, "An agent", format!("An agent{space}")),
            (2, "An agent", format!("An agent{space}# a comment")),
            (11, "runtime: native", format!("runtime:{space}native")),
            (11, "runtime: native", format!("runtime{space}: native")),
            (7, "  - { name: topic", format!("  -{space}{{ name: topic")),
            (7, "name: topic, type", format!("name: topic,{space}type")),
            (7, "type: text, required", format!("type:{space}text, required")),
            (1, "agent_id: x", format!("{space}agent_id: x")),
        ] {
            let found = problems(block.replacen(from, &to, 1));
            let code = format!("U+{:04X}", u32::from(space));
            let is_named = |one: &String| one.starts_with(&format!("agents/x.yaml:{line}:")) && one.contains(&code);
            assert!(found.len() == 1 && found.iter().any(is_named), "{code} in {to:?}: {found:?}");
        }
    }
}

#[test]
fn a_hard_space_inside_a_text_is_part_of_it() {
    for description in [
        "costs 5\u{a0}euros",
        "\"\u{a0}quoted\u{a0}\"",
        "'name:\u{a0}value'",
        "|\n  \u{a0}a line\n  key:\u{a0}value",
        ">-\n  folded\n  \u{3000}lines",
        "a note:\u{a0}value",
    ] {
        let text = agent("x").replace("description: It does something", &format!("description: {description}"));
        assert_eq!(problems(&text), Vec::<String>::new(), "{description:?}");
    }
}

#[test]
fn a_tab_as_indentation_is_named_in_its_line() {
    let block = "implementation:\n\truntime: native\n\thandler: native.echo\n";
    let found = only_problem(agent("x").replace("implementation: { runtime: native, handler: native.echo }\n", block));
    assert!(found.starts_with("agents/x.yaml:11:") && found.contains("tab"), "{found}");
    // The parser accepts no tab after a colon either.
    let found = only_problem(agent("x").replace("name: An", "name:\tAn"));
    assert!(
        found.starts_with("agents/x.yaml:2:") && found.ends_with("the line has a tab: replace it by spaces"),
        "{found}"
    );
}

#[test]
fn a_control_character_is_named_in_its_line() {
    for (code, c) in
        [("U+0000", '\0'), ("U+0007", '\u{7}'), ("U+001B", '\u{1b}'), ("U+007F", '\u{7f}'), ("U+009B", '\u{9b}')]
    {
        for (line, text) in [
            (2, agent("x").replace("An agent", &format!("An{c} agent"))),
            (2, agent("x").replace("An agent", &format!("\"An{c} agent\""))),
            (11, format!("{}{c}ignored: the rest\n", agent("x"))),
        ] {
            let found = only_problem(&text);
            assert!(found.starts_with(&format!("agents/x.yaml:{line}:")) && found.contains(code), "{found}");
        }
    }
}

#[test]
fn a_second_document_is_reported_at_its_line() {
    let found = only_problem(format!("{}---\n{}", agent("x"), agent("y")));
    assert!(found.starts_with("agents/x.yaml:11:1: error[syntax]: a second document begins here"), "{found}");
    assert_eq!(problems(format!("---\n{}", agent("x"))), Vec::<String>::new());
}

#[test]
fn the_files_of_editors_and_systems_are_not_read() {
    let mut folder = Folder::new().with("agents/x.yaml", agent("x"));
    for name in [
        ".x.yaml.swp",
        ".#x.yaml",
        "#x.yaml#",
        "x.yaml~",
        "~x.yaml",
        "~$x.yaml",
        "._x.yaml",
        ".DS_Store",
        "x.yaml.bak",
        "x.yaml.orig",
        "x.yaml.swp",
        "x.yaml.tmp",
        "4913",
        "Thumbs.db",
        ".git/x.yaml",
        "README.md",
    ] {
        folder = folder.with(&format!("agents/{name}"), "this is [ not read");
    }
    assert_eq!(folder.problems(), Vec::<String>::new());
    assert_eq!(folder.load().report.files, 1);
}

#[test]
fn every_ending_of_a_definition_is_read() {
    for ending in ["yaml", "yml", "YAML", "Yml", "json", "JSON"] {
        let text = if ending.eq_ignore_ascii_case("json") { json("x") } else { agent("x") };
        let folder = Folder::new().with(&format!("agents/x.{ending}"), text);
        assert_eq!(folder.problems(), Vec::<String>::new(), "{ending}");
        assert_eq!(folder.load().catalogue.unwrap().agent_count(), 1, "{ending}");
    }
}

/// A minimal agent in JSON, indented with tabs as many tools write it.
fn json(id: &str) -> String {
    format!(
        "{{\n\t\"agent_id\": \"{id}\",\n\t\"name\": \"An agent \\ud83d\\ude00\\/\",\n\t\"category\": \"business_ops\",\n\t\
         \"description\": \"It has\\ta tab\",\n\t\"version\": \"1.0.0\",\n\t\"outputs\": [ {{ \"name\": \"result\", \
         \"type\": \"text\" }} ],\n\t\"implementation\": {{\n\t\t\"runtime\": \"native\",\n\t\t\"handler\": \
         \"native.echo\"\n\t}}\n}}\n"
    )
}

#[test]
fn a_json_file_is_read_and_checked_as_yaml_is() {
    let folder = Folder::new().with("agents/x.json", json("x"));
    let catalogue = folder.load().catalogue.unwrap();
    let agent = catalogue.agents().next().unwrap();
    assert_eq!((agent.spec().name.as_str(), agent.spec().description.as_str()), ("An agent 😀/", "It has\ta tab"));
    let problem = |from: &str, to: &str| {
        let text = json("x");
        assert!(text.contains(from), "{from}");
        Folder::new().with("agents/x.json", text.replace(from, to)).problems()
    };
    assert_eq!(
        problem("\"business_ops\"", "\"busines_ops\""),
        [
            "agents/x.json:4:14: error[unknown_reference]: there is no category `busines_ops`; did you mean `business_ops`?"
        ]
    );
    assert_eq!(problem("\"1.0.0\"", "1.10").len(), 1);
    assert_eq!(problem("\t\"version\"", "\t\"name\": 1,\n\t\"version\"").len(), 1, "a duplicate key");
    assert!(problem("\n}\n", "\n")[0].contains("error[syntax]"));
    let tier = "{ \"model\": \"openai.a\" }";
    let models = format!(
        "{{\n\t\"tiers\": {{ \"small\": {tier}, \"standard\": {tier}, \"large\": {tier} }},\n\t\"models\": {{\n\t\t\
         \"openai.a\": {{ \"context_tokens\": 1000, \"price\": {{ \"input\": 1.50, \"output\": 2 }} }}\n\t}}\n}}\n"
    );
    let folder = Folder::new().with("agents/x.json", json("x")).with("models.json", models);
    assert_eq!(folder.problems(), Vec::<String>::new());
    assert_eq!(folder.load().catalogue.unwrap().models().models.len(), 1);
}

#[test]
fn a_file_in_too_many_folders_is_reported_and_an_empty_folder_is_not() {
    let folder = Folder::new()
        .with("agents/a/b/x.yaml", agent("x"))
        .with("agents/a/b/c/y.yaml", agent("y"))
        .with("agents/a/b/c/d/e/z.yaml", agent("z"))
        .with("agents/a/b/c/d/e/notes.txt", "no definition");
    assert_eq!(
        folder.problems(),
        [
            "agents/a/b/c/d/e/z.yaml: error[too_deep]: the file is nested in more than 3 folders and is not read; move it \
             up, such as to `agents/<category>/<agent_id>.yaml`",
            "agents/a/b/c/y.yaml: error[too_deep]: the file is nested in more than 3 folders and is not read; move it up, \
             such as to `agents/<category>/<agent_id>.yaml`",
        ]
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_folder_above_it_is_reported_once() {
    let folder = Folder::new().with("agents/a/x.yaml", agent("x"));
    std::os::unix::fs::symlink("..", folder.path().join("agents/a/up")).unwrap();
    assert_eq!(folder.problems(), ["agents/a/up: error[unreadable]: the link leads to a folder that contains it"]);
}

#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_once() {
    let folder = Folder::new().with("..2026_01_01/x.yaml", agent("x"));
    std::os::unix::fs::symlink("..2026_01_01", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/x.yaml", folder.path().join("x.yaml")).unwrap();
    assert_eq!(folder.problems(), Vec::<String>::new());
    assert_eq!(folder.load().catalogue.unwrap().agent_count(), 1);
}

#[test]
fn words_that_other_versions_of_yaml_read_as_booleans_are_texts() {
    for word in ["yes", "no", "on", "off", "y", "n", "Yes", "NO"] {
        let found = only_problem(agent("x").replace("required: true", &format!("required: {word}")));
        assert!(
            found.starts_with("agents/x.yaml:7:42: error[wrong_type]: found the text")
                && found.contains(word)
                && found.contains("expected `true`, `false`, or a list of properties"),
            "{found}"
        );
        assert_eq!(problems(agent("x").replace("An agent", word)), Vec::<String>::new(), "{word}");
    }
    let found = only_problem(agent("x").replace("name: An agent", "name: true"));
    assert!(found.contains("found `true`; expected a text; put it in quotes"), "{found}");
}

#[test]
fn a_long_line_is_read_and_a_long_name_is_shortened_in_its_message() {
    let long = "word ".repeat(40_000);
    assert_eq!(problems(agent("x").replace("It does something", long.trim())), Vec::<String>::new());
    let key = "k".repeat(900);
    let found = only_problem(agent("x") + &format!("{key}: 1\n"));
    assert!(found.len() < 700 && found.contains("kkk") && found.contains('…'), "{}", found.len());
}

#[test]
fn a_message_shows_no_control_character() {
    let found = problems(agent("x") + "\"a\\x1b[31m\\nb\": 1\n").join("");
    assert!(found.contains("unknown_field") && !found.contains(['\u{1b}', '\n']), "{found:?}");
}

#[test]
fn the_fingerprint_of_a_folder_changes_with_each_definition_and_with_nothing_else() {
    use greenroom_definitions::loader::fingerprint;

    let folder = Folder::new().with("agents/x.yaml", agent("x")).with("agents/y.yaml", agent("y"));
    let first = fingerprint(folder.path());
    let folder = folder.with("agents/.x.yaml.swp", "an editor's").with("agents/notes.txt", "notes");
    assert_eq!(fingerprint(folder.path()), first);
    folder.with_file("agents/x.yaml", agent("x").replace("An agent", "An Agent"));
    let changed = fingerprint(folder.path());
    assert_ne!(changed, first);
    folder.with_file("agents/x.yaml", agent("x"));
    assert_eq!(fingerprint(folder.path()), first);
    std::fs::rename(folder.path().join("agents/x.yaml"), folder.path().join("agents/z.yaml")).unwrap();
    assert_ne!(fingerprint(folder.path()), first);
}
