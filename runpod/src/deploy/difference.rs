//! The difference between an endpoint of RunPod and its description, member by member. Values of the environment are shown only
//! if they are references to secrets.

use greenroom_protocol::Json;
use serde_json::Map;

use super::body::is_secret_reference;

/// Members that an endpoint cannot change: another one has to be created.
const IMMUTABLE: [&str; 2] = ["type", "name"];
/// The kinds of processors, of which an endpoint has one for its life.
const COMPUTE: [&str; 2] = ["cpu", "gpu"];
/// The longest value that is shown.
const VALUE_CHARS_MAX: usize = 100;

/// The changes of one endpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Difference {
    /// The body that makes them.
    pub(super) patch: Map<String, Json>,
    /// A line for each.
    pub(super) lines: Vec<String>,
    /// Members that cannot be changed and differ.
    pub(super) immutable: Vec<String>,
}

/// Compares the members of a description with those of an endpoint. Members of the endpoint that a description does not have
/// are RunPod's own.
pub(super) fn compare(current: &Json, wanted: &Json) -> Difference {
    let mut difference = Difference::default();
    for (name, value) in sorted_members(wanted) {
        let found = current.get(name).unwrap_or(&Json::Null);
        // Nested variables that a description does not name are removed by a change, so they count.
        let has_strays = name == "env" && has_stray_variables(found, value);
        if is_same(found, value) && !has_strays {
            continue;
        }
        let is_other_compute = COMPUTE.contains(&name.as_str()) && is_absent(found) && has_compute(current);
        if IMMUTABLE.contains(&name.as_str()) || is_other_compute {
            difference.immutable.push(format!("{name}: {} → {}", show(found), show(value)));
            continue;
        }
        difference.lines.extend(describe_change(name, found, value));
        difference.patch.insert(name.clone(), value.clone());
    }
    difference
}

/// True if an endpoint has processors of one of both kinds.
fn has_compute(endpoint: &Json) -> bool {
    COMPUTE.iter().any(|kind| endpoint.get(kind).is_some_and(|found| !is_absent(found)))
}

fn is_absent(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The lines of a new endpoint.
pub(super) fn describe_new(wanted: &Json) -> Vec<String> {
    let members = sorted_members(wanted).into_iter();
    members.flat_map(|(name, value)| describe_change(name, &Json::Null, value)).collect()
}

/// The members of an object by their names, so that the same plan has the same text.
fn sorted_members(document: &Json) -> Vec<(&String, &Json)> {
    let mut members: Vec<(&String, &Json)> = document.as_object().into_iter().flatten().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    members
}

/// True if the endpoint has every member of the wanted value. A list is the same only as a whole, and nothing is the same as
/// an empty list or object.
fn is_same(found: &Json, wanted: &Json) -> bool {
    match (found, wanted) {
        (Json::Object(found), Json::Object(wanted)) => {
            wanted.iter().all(|(name, value)| is_same(found.get(name).unwrap_or(&Json::Null), value))
        }
        (Json::Array(found), Json::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| is_same(found, wanted))
        }
        (Json::Number(found), Json::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (Json::Null, Json::Array(wanted)) => wanted.is_empty(),
        (Json::Null, Json::Object(wanted)) => wanted.is_empty(),
        (found, wanted) => found == wanted,
    }
}

fn describe_change(name: &str, found: &Json, wanted: &Json) -> Vec<String> {
    if name == "env" {
        return describe_env(found, wanted);
    }
    match found {
        Json::Null => vec![format!("+ {name}: {}", show(wanted))],
        found => vec![format!("~ {name}: {} → {}", show(found), show(wanted))],
    }
}

/// The variables that change; the environment is replaced as a whole.
fn describe_env(found: &Json, wanted: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in sorted_members(wanted) {
        match found.get(name) {
            None => lines.push(format!("+ env.{name}: {}", show_variable(value))),
            Some(old) if old != value => lines.push(format!("~ env.{name}: {}", show_variable(value))),
            Some(_) => {}
        }
    }
    let strays = sorted_members(found).into_iter().filter(|(name, _)| wanted.get(name).is_none());
    lines.extend(strays.map(|(name, _)| format!("- env.{name}")));
    lines
}

fn show_variable(value: &Json) -> String {
    match value.as_str() {
        Some(text) if is_secret_reference(text) => text.to_owned(),
        _ => "(a value)".to_owned(),
    }
}

fn show(value: &Json) -> String {
    let text = value.as_str().map_or_else(|| to_sorted_text(value), str::to_owned);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let first: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("{first}…")
}

/// A value as JSON with the members of each object by their names, so that the same plan has the same text.
fn to_sorted_text(value: &Json) -> String {
    match value {
        Json::Object(_) => {
            let members = sorted_members(value).into_iter();
            let members: Vec<String> = members
                .map(|(name, value)| format!("{}:{}", Json::from(name.as_str()), to_sorted_text(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Json::Array(items) => format!("[{}]", items.iter().map(to_sorted_text).collect::<Vec<_>>().join(",")),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

/// True if an environment has variables that another one does not have.
fn has_stray_variables(found: &Json, wanted: &Json) -> bool {
    let names = |env: &Json| env.as_object().map(|env| env.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let wanted = names(wanted);
    names(found).iter().any(|name| !wanted.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{compare, describe_new};

    #[test]
    fn only_members_that_differ_are_changed() {
        let current = json!({
            "id": "e1", "name": "q", "type": "QUEUE", "workers": { "min": 0, "max": 3, "standby": 1 }, "timeout": 300000,
            "scaling": { "type": "QUEUE_DELAY", "queueDelay": 1 }, "env": { "A": "old", "B": "secret-b" },
        });
        let wanted = json!({
            "name": "q", "type": "QUEUE", "workers": { "min": 0, "max": 5 }, "timeout": 300000, "ports": [],
            "scaling": { "type": "QUEUE_DELAY", "queueDelay": 1.0 },
            "env": { "A": "secret-a", "C": "{{ RUNPOD_SECRET_C }}" },
        });
        let difference = compare(&current, &wanted);
        let mut changed: Vec<&String> = difference.patch.keys().collect();
        changed.sort_unstable();
        assert_eq!(changed, ["env", "workers"]);
        let lines = difference.lines.join("\n");
        let expected = ["~ env.A: (a value)", "+ env.C: {{ RUNPOD_SECRET_C }}", "- env.B", "~ workers: "];
        assert!(lines.starts_with(&expected.join("\n")), "{lines}");
        assert!(!lines.contains("secret-a") && !lines.contains("secret-b"));
        let emptied = compare(&current, &json!({ "env": {} }));
        assert_eq!(emptied.lines, ["- env.A", "- env.B"], "a variable that is not described is removed");
    }

    #[test]
    fn an_endpoint_that_is_as_described_has_no_difference() {
        let wanted = json!({ "name": "q", "ports": [], "env": {}, "cpu": [{ "id": "cpu3c", "vcpuCount": 2 }] });
        let current = json!({ "name": "q", "cpu": [{ "id": "cpu3c", "vcpuCount": 2, "ramGb": 4 }] });
        let difference = compare(&current, &wanted);
        assert!(difference.patch.is_empty() && difference.immutable.is_empty(), "{difference:?}");
    }

    #[test]
    fn the_type_and_the_kind_of_processors_of_an_endpoint_cannot_change() {
        let difference = compare(&json!({ "type": "QUEUE" }), &json!({ "type": "LOAD_BALANCER" }));
        assert_eq!(difference.immutable, ["type: QUEUE → LOAD_BALANCER"]);
        assert!(difference.patch.is_empty());
        let current = json!({ "cpu": [], "gpu": { "pools": ["ADA_24"], "count": 1 } });
        let difference = compare(&current, &json!({ "cpu": [{ "id": "cpu3c", "vcpuCount": 2 }] }));
        assert_eq!(difference.immutable, [r#"cpu: [] → [{"id":"cpu3c","vcpuCount":2}]"#]);
        assert!(difference.patch.is_empty());
    }

    #[test]
    fn a_new_endpoint_has_a_line_for_each_member_and_no_secret() {
        let lines = describe_new(&json!({ "name": "q", "env": { "TOKEN": "sk-1", "T": "{{ RUNPOD_SECRET_T }}" } }));
        assert_eq!(lines, ["+ env.T: {{ RUNPOD_SECRET_T }}", "+ env.TOKEN: (a value)", "+ name: q"]);
        let nested = describe_new(&json!({ "cpu": [{ "vcpuCount": 2, "id": "a\"b" }], "on": true }));
        assert_eq!(nested, [r#"+ cpu: [{"id":"a\"b","vcpuCount":2}]"#, "+ on: true"]);
    }
}
