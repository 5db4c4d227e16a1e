//! What the deployed programs need and the customer's file does not name. Each becomes a reference to a secret of RunPod, which
//! has to be created: without it, the first worker would start and the second one would not.

use std::collections::BTreeMap;

use super::deployment::Requirement;

/// What the pods of one database have in common.
const OF_A_DATABASE: [(&str, &str); 1] =
    [("GREENROOM_AUDIT_KEY", "all pods of a database sign its audit with one key")];
/// What reads and writes a bucket. Pods of one database share their artifacts.
const OF_A_BUCKET: [(&str, &str); 3] = [
    ("S3_BUCKET", "the pods share their artifacts in a bucket"),
    ("S3_ACCESS_KEY_ID", "the pods read the buckets with this key"),
    ("S3_SECRET_ACCESS_KEY", "the pods read the buckets with this key"),
];
/// What the bridge and the pods have in common.
const OF_A_BRIDGE: [(&str, &str); 2] = [
    ("NATS_URL", "the bridge sends its requests to the pods over NATS"),
    ("GREENROOM_CLUSTER_SECRET", "the pods recognise each other by it, and the bridges the tokens of event streams"),
];
/// Settings of folders that a bucket may replace.
const FOLDERS: [&str; 2] = ["GREENROOM_DEFINITIONS", "GREENROOM_POLICY"];

/// Adds what is needed and missing to the environment of the pods.
pub(super) fn add_requirements(env: &mut BTreeMap<String, String>, has_bridge: bool) -> Vec<Requirement> {
    let has_database = env.contains_key("DATABASE_URL");
    let reads_bucket = FOLDERS.iter().any(|folder| env.get(*folder).is_some_and(|source| source.starts_with("s3://")));
    let mut needed: Vec<(&str, &str)> = Vec::new();
    needed.extend(OF_A_DATABASE.iter().filter(|_| has_database));
    needed.extend(OF_A_BUCKET.iter().filter(|_| has_database || reads_bucket));
    needed.extend(OF_A_BRIDGE.iter().filter(|_| has_bridge));
    needed.retain(|(variable, _)| !env.contains_key(*variable));
    let requirements = needed.into_iter().map(|(variable, reason)| {
        let value = format!("{{{{ RUNPOD_SECRET_{variable} }}}}");
        env.insert(variable.to_owned(), value.clone());
        Requirement { variable: variable.to_owned(), value, reason: reason.to_owned() }
    });
    requirements.collect()
}

/// The variables of the pods that the bridge needs too. It forwards only, so it gets no key of a model and no database.
pub(super) fn bridge_environment(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let shared = OF_A_BRIDGE.iter().filter_map(|(variable, _)| env.get_key_value(*variable));
    shared.map(|(variable, value)| (variable.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{add_requirements, bridge_environment};

    fn variables(names: &[(&str, &str)]) -> BTreeMap<String, String> {
        names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_is_needed_and_missing_is_added() {
        let mut env = variables(&[("DATABASE_URL", "{{ RUNPOD_SECRET_DATABASE_URL }}"), ("S3_BUCKET", "mine")]);
        let requirements = add_requirements(&mut env, false);
        let names: Vec<&str> = requirements.iter().map(|one| one.variable.as_str()).collect();
        assert_eq!(names, ["GREENROOM_AUDIT_KEY", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]);
        assert_eq!(env["S3_BUCKET"], "mine");
        assert_eq!(env["GREENROOM_AUDIT_KEY"], "{{ RUNPOD_SECRET_GREENROOM_AUDIT_KEY }}");
        assert!(add_requirements(&mut variables(&[("OPENAI_API_KEY", "x")]), false).is_empty());
        let mut env = variables(&[("GREENROOM_POLICY", "s3://b/policies")]);
        assert_eq!(add_requirements(&mut env, false).len(), 3);
    }

    #[test]
    fn the_bridge_has_what_connects_it_with_the_pods_and_nothing_else() {
        let mut env = variables(&[("DATABASE_URL", "x"), ("OPENAI_API_KEY", "x")]);
        add_requirements(&mut env, true);
        let bridge = bridge_environment(&env);
        assert_eq!(bridge.keys().map(String::as_str).collect::<Vec<_>>(), ["GREENROOM_CLUSTER_SECRET", "NATS_URL"]);
    }
}
