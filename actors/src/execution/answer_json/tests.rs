//! Objects in the answers of models, with whatever is around them.

use serde_json::json;

use super::*;

fn found(text: &str) -> Vec<Json> {
    find_objects(text).objects.into_iter().map(Json::Object).collect()
}

#[test]
fn the_one_object_is_found_whatever_is_around_it() {
    let one = json!({ "summary": "a {b} \n c", "n": [{ "x": 1 }] });
    let text = one.to_string();
    for answer in [
        text.clone(),
        format!("  \n{text}\n"),
        format!("```json\n{text}\n```"),
        format!("```JSON\n{text}\n```"),
        format!("Here is the JSON that you asked for:\n\n```json\n{text}\n```\n"),
        format!("```\n{text}\n```\n\nTell me if you want it shorter."),
        format!("The answer is {text}. I hope that {{it}} helps."),
        format!("[{text}]"),
        format!("\u{feff}{text}"),
        json!(text).to_string(),
        json!(format!("```json\n{text}\n```")).to_string(),
    ] {
        assert_eq!(found(&answer), std::slice::from_ref(&one), "{answer}");
    }
}

#[test]
fn a_draft_among_the_thoughts_is_not_the_answer() {
    let one = json!({ "summary": "whole" });
    for thoughts in [
        "<think>\nThe user wants {\"summary\": \"draft\"}? No.\n</think>\n\n",
        "<THINK>{\"summary\": \"draft\"}</THINK>",
        "Maybe {\"summary\": \"draft\"}?\n</think>",
        "<thinking>{\"summary\": \"draft\"}</thinking>Now: ",
        "<thought>{\"summary\": \"draft\"}</thought>",
        "<analysis>\n{\"summary\": \"draft\"}\n</analysis>\n",
        "[THINK]Perhaps {\"summary\": \"draft\"}[/THINK]",
        "<|channel|>analysis<|message|>{\"summary\": \"draft\"}<|end|><|start|>assistant<|channel|>final<|message|>",
    ] {
        assert_eq!(found(&format!("{thoughts}{one}")), std::slice::from_ref(&one), "{thoughts}");
    }
    assert_eq!(found(&format!("<think>So: {one}")), [one], "the thoughts do not end");
    let about_tags = json!({ "summary": "It ends with </think>, always." });
    assert_eq!(found(&format!("```json\n{about_tags}\n```")), [about_tags]);
}

#[test]
fn several_objects_are_all_found_and_equal_ones_once() {
    assert_eq!(found("{\"a\":1} or {\"a\":2}"), [json!({ "a": 1 }), json!({ "a": 2 })]);
    assert_eq!(found("{\"a\":1}{\"a\":1}"), [json!({ "a": 1 })]);
    assert_eq!(found("no object"), Vec::<Json>::new());
    assert_eq!(found("[1, 2]"), Vec::<Json>::new());
}

#[test]
fn half_of_a_surrogate_pair_does_not_spoil_an_answer() {
    assert_eq!(found(r#"{"a": "Up \ud83d."}"#), [json!({ "a": "Up \u{fffd}." })]);
    assert_eq!(found(r#"{"a": "\u0000 \ud83d\udcc8"}"#), [json!({ "a": "\u{0} 📈" })]);
}

#[test]
fn the_search_is_bounded() {
    assert_eq!(found(&format!("{}{{\"a\":1}}", "{ ".repeat(1_000))), Vec::<Json>::new());
    assert_eq!(found(&"{\"a\":".repeat(100_000)), Vec::<Json>::new());
}

#[test]
fn a_raw_line_feed_and_a_last_comma_leave_no_doubt() {
    for (answer, expected) in [
        ("{\"a\": \"one\ntwo\tthree\"}", json!({ "a": "one\ntwo\tthree" })),
        ("```json\n{\"a\": [1, 2,], \"b\": {\"c\": \"x, }\",},\n}\n```", json!({ "a": [1, 2], "b": { "c": "x, }" } })),
        ("So: {\"a\": \"he said \\\"\n\\\",}\" , } and more", json!({ "a": "he said \"\n\",}" })),
    ] {
        assert_eq!(found(answer), [expected], "{answer}");
    }
    for answer in ["{\"a\": 1,,}", "{,}", "{\"a\": [,]}", "{\"a\": NaN,}", "{\"a\": \"x\n"] {
        assert_eq!(found(answer), Vec::<Json>::new(), "{answer}");
    }
}

#[test]
fn a_comment_leaves_no_doubt() {
    for (answer, expected) in [
        ("{ // the answer\n\"a\": 1}", json!({ "a": 1 })),
        ("{\"a\": [1, /* } \" */ 2, // the last, }\n], /* \n ** */ }", json!({ "a": [1, 2] })),
        ("{\"a\": \"http://x /* y */\", // \"b\": 2,\n}", json!({ "a": "http://x /* y */" })),
        ("```json\n// the answer\n{\"a\": 1 /**/}\n```", json!({ "a": 1 })),
    ] {
        assert_eq!(found(answer), [expected], "{answer}");
    }
    for answer in ["{\"a\": 1 // }", "{\"a\": 1 /* }", "{\"a\": 1 / 2}", "{\"a\": 1/**/2}", "{\"a\": 1 /*/ }"] {
        assert_eq!(found(answer), Vec::<Json>::new(), "{answer}");
    }
}

#[test]
fn a_number_that_json_lacks_is_named() {
    for (answer, word) in [
        ("{\"a\": NaN}", "`NaN` is no value of JSON, at line 1 column 7"),
        ("{\"a\": \"NaN\", // NaN\n \"b\": -Infinity,}", "`-Infinity` is no value of JSON, at line 2 column 7"),
        ("Here: {\"a\": [1,\nInfinity, NaN]}", "`Infinity` is no value of JSON, at line 2 column 1"),
    ] {
        let FoundObjects { objects, problem } = find_objects(answer);
        assert_eq!(objects, Vec::<JsonObject>::new(), "{answer}");
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(word)), "{answer}: {problem:?}");
    }
    for answer in ["{\"a\": NaNs}", "{'a': NaN}", "{\"a\": +Infinity}", "{NaN: 1}"] {
        let problem = find_objects(answer).problem;
        assert!(problem.is_none_or(|problem| !problem.contains("no value of JSON")), "{answer}");
    }
}

#[test]
fn the_problem_of_a_text_that_is_nearly_an_object_is_the_parsers() {
    for (answer, part) in [
        ("{\"a\": NaN}", "line 1 column 7"),
        ("{ // the answer\n\"a\": }", "line 1 column 3"),
        ("Here:\n{\"a\": 1\n", "EOF"),
        ("{\"rows\": [{\"x\": 1}], \"score\": NaN}", "line 1"),
        ("{'a': 1}", "key must be a string"),
    ] {
        let problem = find_objects(answer).problem;
        assert!(problem.as_ref().is_some_and(|problem| problem.contains(part)), "{answer}: {problem:?}");
    }
    for answer in ["no object", "{name} of {it}", "{\"a\"} is {\"b\": 1}", "{\"b\": 1} is {\"a\"}", "{\"a\": 1}"] {
        assert_eq!(find_objects(answer).problem, None, "{answer}");
    }
}
