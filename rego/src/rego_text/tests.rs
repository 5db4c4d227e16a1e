//! The derivation over each construct of Rego that reads the input.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn sources(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn derive(files: &[(&str, &str)]) -> Result<TextReads, TextProblem> {
    let data = json!({ "cfg": { "limits": { "max": 3 }, "names": { "a": 1 } } });
    RegoText::read(&sources(files))?.reads(&["guard/allowed"], &data)
}

/// The paths that `allowed` reads, with a mark on those that are not read in full.
fn paths_of(files: &[(&str, &str)]) -> Vec<String> {
    let reads = derive(files).unwrap_or_else(|problem| panic!("{files:?}: {problem}"));
    let show = |(path, extent): &InputRead| match extent {
        Extent::Value => path.join("."),
        Extent::Type => format!("{}*", path.join(".")),
        Extent::AgentCategory => format!("{}[agent.category]", path.join(".")),
    };
    reads.inputs.keys().map(show).collect()
}

/// The same for rules of one package.
fn paths(text: &str) -> Vec<String> {
    paths_of(&[("guard.rego", &format!("package guard\n{text}"))])
}

#[test]
fn a_reference_of_names_is_read_as_it_is_written() {
    for (text, expected) in [
        ("allowed if input.user.id == \"x\"", &["user.id"][..]),
        ("allowed if input[\"user\"][`roles`].admin == 1", &["user.roles.admin"]),
        ("allowed if input[ \"user\" ].id", &["user.id"]),
        ("allowed if not input.facts.audited", &["facts.audited"]),
        ("allowed if -input.hops < 3", &["hops"]),
        ("allowed if(input.hops)", &["hops"]),
        ("allowed := input.hops", &["hops"]),
        ("allowed contains input.resource", &["resource"]),
        ("allowed if true else := 1 if input.resource", &["resource"]),
        ("default allowed := false\nallowed if { x := input.hops; x > 1 }", &["hops"]),
        ("allowed if count([1 | input.hops; input.resource]) > 0", &["hops", "resource"]),
        ("allowed if {\"a\": input.hops, input.resource: 1}[\"a\"]", &["hops", "resource"]),
        ("allowed if every x in [1] { x == input.hops }", &["hops"]),
        ("allowed if some x in input.user.roles", &["user.roles"]),
        ("allowed if contains(input.resource, \"a\")", &["resource"]),
        ("allowed if data.cfg.names[input.resource]", &["resource"]),
        ("allowed if sprintf(\"%v\", [input.resource])", &["resource"]),
        ("allowed if $\"{input.resource} {{\"a\": input.hops}}\" == `x`", &["hops", "resource"]),
    ] {
        assert_eq!(paths(text), expected, "{text}");
    }
}

#[test]
fn comments_and_strings_and_members_of_other_values_are_not_read() {
    for text in [
        "allowed # if input.user",
        "# input\nallowed if \"input.user\" == `input.user`",
        "allowed if $\"input.user \\{input.user}\"",
        "allowed if data.cfg.input.user",
        "allowed if x.input.user",
        "allowed if f(1).input",
    ] {
        let text = text.replace("allowed #", "allowed := 1 #");
        let data = json!({ "cfg": { "input": 1 } });
        let files = sources(&[("guard.rego", &format!("package guard\n{text}"))]);
        let reads = RegoText::read(&files).unwrap().reads(&["guard/allowed"], &data).unwrap();
        assert!(reads.inputs.is_empty(), "{text}: {:?}", reads.inputs);
    }
}

#[test]
fn what_is_computed_widens_to_the_prefix_before_it() {
    for (text, expected) in [
        ("allowed if input[x]", &[""][..]),
        ("allowed if { some x; input[x] }", &[""]),
        ("allowed if input.user[input.resource].id", &["resource", "user"]),
        ("allowed if input.user[$\"id\"]", &["user"]),
        ("allowed if input.facts[_] == 1", &["facts"]),
        ("allowed if { i := input; i.user }", &[""]),
        ("allowed if { u := input.user; u.id }", &["user"]),
        ("allowed if f(input)\nf(x) if x.user.id", &[""]),
        ("allowed if f(input.user)\nf(x) if x.id", &["user"]),
        ("allowed if walk(input, [path, value])", &[""]),
        ("allowed if object.union(input, {}).user", &[""]),
        ("allowed if object.get(input, x, 1)", &[""]),
        ("allowed if object.get(input, [\"user\", x], 1)", &[""]),
        ("allowed if json.filter(input, [\"user/id\"])", &[""]),
        ("allowed if input == {}", &[""]),
        ("allowed if [input]", &[""]),
        ("allowed if input.user.permissions.allowed_categories[x]", &["user.permissions.allowed_categories"]),
    ] {
        assert_eq!(paths(text), expected, "{text}");
    }
}

#[test]
fn constant_keys_and_tests_of_types_read_no_more_than_they_need() {
    for (text, expected) in [
        ("allowed if object.get(input, \"caller_policies\", {}) == {}", &["caller_policies"][..]),
        ("allowed if object.get(input.user, [\"roles\", \"admin\"], input.hops)", &["hops", "user.roles.admin"]),
        ("allowed if object.get(data.cfg.names, input.resource, 1)", &["resource"]),
        ("allowed if is_object(input.facts)", &["facts*"]),
        ("allowed if is_object(input)", &["*"]),
        ("allowed if is_object(input.user[x])", &["user"]),
        ("allowed if is_string(concat(\"\", [input.resource]))", &["resource"]),
        ("allowed if is_object(input.facts)\nis_object(x) if x.audited", &["facts"]),
        ("import data.lib.object\nallowed if object.get(input, \"hops\", 1)", &[""]),
        (
            "allowed if input.user.permissions.allowed_categories[input.agent.category] == 1",
            &["agent.category", "user.permissions.allowed_categories[agent.category]"],
        ),
    ] {
        let lib = ("lib.rego", "package lib.object\nget(x, y, z) := x[y]");
        assert_eq!(paths_of(&[("guard.rego", &format!("package guard\n{text}")), lib]), expected, "{text}");
    }
}

#[test]
fn imports_stand_for_the_paths_that_they_name() {
    for (text, expected) in [
        ("import input.user as u\nallowed if u.id", &["user.id"][..]),
        ("import input.user\nallowed if user.id", &["user.id"]),
        ("import input.user.roles as r\nallowed if r[x]", &["user.roles"]),
        ("import input.user.roles as r\nallowed if f(r)", &["user.roles"]),
        ("import input as i\nallowed if i.hops", &["hops"]),
        ("import input as i\nallowed if i", &[""]),
        ("import input.user as u\nallowed if object.get(u, \"id\", 1)", &["user.id"]),
        ("import rego.v1\nallowed if input.hops", &["hops"]),
        ("import input.user as u\nallowed if input.hops", &["hops"]),
    ] {
        assert_eq!(paths(text), expected, "{text}");
    }
}

#[test]
fn the_rules_of_other_files_and_packages_are_followed_and_unused_ones_are_not() {
    let guard =
        "package guard\nimport data.lib as l\nallowed if { ok; data.other.f(1); l.deep.rule }\nunused if input.usage";
    let same = "package guard\nok if input.hops\nreasons if input.user.id";
    let other = "package other\nf(x) if x == input.resource\nf(x) if helper\nhelper if input.action\ng if input.user";
    let deep = "package lib.deep\nrule := input.document_bytes\nnext if input.user";
    let files = [("a.rego", guard), ("b.rego", same), ("c.rego", other), ("d.rego", deep)];
    let reads = derive(&files).unwrap();
    let found: Vec<_> =
        reads.inputs.iter().map(|((path, _), location)| format!("{} {location}", path.join("."))).collect();
    assert_eq!(found, ["action c.rego:4", "document_bytes d.rego:2", "hops b.rego:2", "resource c.rego:2"]);

    // A computed part may mean every rule below it, and a part of a rule's value means the rule.
    let dynamic = [("a.rego", "package guard\nallowed if data.other[x]"), ("c.rego", other)];
    let found: Vec<_> = derive(&dynamic).unwrap().inputs.into_keys().map(|(path, _)| path.join(".")).collect();
    assert_eq!(found, ["action", "resource", "user"]);
    assert_eq!(paths("allowed if value.a.b[1]\nvalue := {\"a\": input.hops}"), ["hops"]);
    assert_eq!(paths("allowed if v.a\nv.a := input.hops\nv.b := input.action"), ["hops"]);
    assert_eq!(paths("allowed if data.guard"), [""; 0]);
}

#[test]
fn constants_are_listed() {
    let text = "package guard\nallowed if { input.user.id != \"mallory\"; input.hops < 12; f(1.5) }\nf(_) if data.cfg.limits.max\nunused := \"x\"";
    let reads = derive(&[("a.rego", text)]).unwrap();
    assert_eq!(reads.texts, BTreeSet::from(["mallory".to_owned()]));
    assert_eq!(reads.numbers, BTreeSet::from([12]));
}

#[test]
fn nothing_is_derived_from_a_text_that_is_incomplete_or_cannot_be_read() {
    for (text, message) in [
        ("package other\nallowed := 1", "the bundle has no Rego text of `guard/allowed`"),
        ("package guard\nallowed if data.lib.x", "a.rego:2: the bundle has neither a rule nor data `data.lib.x`"),
        (
            "package guard\nallowed if data.cfg.absent.x",
            "a.rego:2: the bundle has neither a rule nor data `data.cfg.absent.x`",
        ),
        ("package guard\n\nallowed if (input", "a.rego:3: `)` is missing"),
        ("package guard\nallowed if x with input as {}", "a.rego:2: `with` replaces the input"),
        ("package guard\nallowed if x with input.user.id as 1", "a.rego:2: `with` replaces the input"),
        ("package guard\nimport input.user\nallowed if x with user.id as 1", "a.rego:3: `with` replaces the input"),
        ("package guard\nallowed if x with is_object as f", "a.rego:2: `with` replaces the input or a built-in"),
        ("package guard\nallowed if x with object.get as f", "a.rego:2: `with` replaces the input or a built-in"),
    ] {
        let problem = derive(&[("a.rego", text)]).map(|reads| reads.inputs).unwrap_err();
        assert!(problem.to_string().starts_with(message), "{text}: {problem}");
    }
    let latin = BTreeMap::from([("a.rego".to_owned(), b"package guard # \xe4".to_vec())]);
    assert_eq!(RegoText::read(&latin).map(drop), Err(TextProblem::Encoding { file: "a.rego".into() }));
    let large = BTreeMap::from([("a.rego".to_owned(), vec![b' '; TEXT_BYTES_MAX + 1])]);
    assert_eq!(RegoText::read(&large).map(drop), Err(TextProblem::TooLarge));
    // `with` of data is no replacement of the input, and a test that is not used does not count.
    assert_eq!(paths("allowed if x with data.cfg.names as input.hops\ntest_it if allowed with input as {}"), ["hops"]);
}

/// The policies of this crate, tests included.
fn shipped() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policy");
    let areas = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = areas.flat_map(|area| std::fs::read_dir(area).unwrap().map(|entry| entry.unwrap().path()));
    files.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_shipped_policies_and_their_tests_are_read() {
    let files = shipped();
    assert!(files.len() > 15, "{}", files.len());
    for (file, text) in &files {
        let module = Module::read(file, text).unwrap_or_else(|error| panic!("{file}: {error:?}"));
        // A rule of these files begins at the beginning of a line.
        let is_start = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase()) && !is_header(line);
        assert_eq!(module.rules.len(), text.lines().filter(is_start).count(), "{file}");
    }
}

fn is_header(line: &str) -> bool {
    line.starts_with("package ") || line.starts_with("import ")
}

#[test]
fn a_text_that_ends_anywhere_or_lacks_a_part_is_read_or_rejected() {
    for (file, text) in shipped() {
        for at in (0..text.len()).step_by(13).filter(|at| text.is_char_boundary(*at)) {
            let (before, after) = text.split_at(at);
            let rest = after.char_indices().nth(5).map_or("", |(from, _)| &after[from..]);
            for part in [before, after, &format!("{before}{rest}"), &format!("{before}`{after}")] {
                let _ = Module::read(&file, part);
            }
        }
    }
}
