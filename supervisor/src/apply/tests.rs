//! What is applied through a whole pod: checked as a whole, stored, active here and after a restart; refusals change
//! nothing.

use std::path::Path;

use greenroom_actors::definition_resolver::DefinitionResolver as _;
use greenroom_protocol::request::Maintenance;
use greenroom_protocol::{AgentId, UserId};
use greenroom_registry::StoreError;

use super::*;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::{Overrides, compose_with};
use crate::config::StoreConfig;
use crate::pod::Pod;

/// Bound of a wait, which only ends a test that hangs.
const WAIT_MAX: Duration = Duration::from_secs(60);
const BUNDLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/tests/bundles");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../rego/bundle");

/// A pod in this directory, over its SQLite file.
async fn try_start(dir: &Path, overrides: Overrides) -> Result<Pod, Cause> {
    let config = Config::defaults(dir).unwrap();
    compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await
}

async fn start(dir: &Path) -> Pod {
    try_start(dir, Overrides::default()).await.unwrap()
}

async fn start_in_memory(dir: &Path) -> Pod {
    let mut config = Config::defaults(dir).unwrap();
    config.store = StoreConfig::Memory;
    compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await.unwrap()
}

fn agent(id: &str, handler: &str) -> String {
    format!(
        "agent_id: {id}\nname: Echo\ncategory: business_ops\ndescription: Returns its input\nversion: \"1.0.0\"\n\
         outputs: [{{ name: text, type: text }}]\npolicies: [require_authentication]\n\
         implementation: {{ runtime: native, handler: {handler} }}\n"
    )
}

/// Writes the files of a folder of definitions, and returns its path.
fn write(dir: &Path, files: &[(&str, String)]) -> String {
    let folder = dir.join("applied");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

async fn maintain(pod: &Pod, maintenance: Maintenance) -> Result<Json, Cause> {
    let reply = pod.client(&UserId::new("admin").unwrap()).maintain(maintenance).await.unwrap();
    match reply.error {
        Some(cause) => Err(cause),
        None => Ok(reply.outputs["report"].clone()),
    }
}

async fn apply_definitions(pod: &Pod, from: &str) -> Result<Json, Cause> {
    maintain(pod, Maintenance::ApplyDefinitions { from: from.to_owned() }).await
}

async fn apply_policy(pod: &Pod, from: &str) -> Result<Json, Cause> {
    maintain(pod, Maintenance::ApplyPolicy { from: from.to_owned() }).await
}

fn has_agent(pod: &Pod, id: &str) -> bool {
    pod.parts.definitions.catalogue().agent(&AgentId::new(id).unwrap()).is_some()
}

/// Stores definitions past the checks, as a pod of another release that has this handler does.
async fn store_unchecked(pod: &Pod, handler: &str) -> u64 {
    let files =
        GenerationFiles::from([("other.yaml".to_owned(), Arc::from(agent("other_agent", handler).into_bytes()))]);
    let (source, by) =
        ("/elsewhere".to_owned(), PrincipalId::local("default".parse().unwrap(), "admin".parse().unwrap()));
    let new = NewGeneration { kind: GenerationKind::Catalogue, files, source, by, at: pod.parts.clock.now() };
    let store = &pod.stores().generations;
    let checked = store.current_generations().await.unwrap();
    store.apply(new, checked).await.unwrap().unwrap()
}

/// Waits until the page of metrics has this line.
async fn wait_for_line(pod: &Pod, line: &str) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(5));
        while !pod.metrics().render().lines().any(|found| found == line) {
            interval.tick().await;
        }
    };
    let waited = tokio::time::timeout(WAIT_MAX, waiting).await;
    assert!(waited.is_ok(), "{line}\n{}", pod.metrics().render());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_definitions_are_refused_whole_with_all_their_problems() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start_in_memory(dir.path()).await;
    let broken = agent("a_agent", "native.echo").replace("category:", "categori:");
    let files =
        [("a.yaml", broken), ("b.yaml", agent("b_agent", "native.none")), ("c.yaml", agent("c_agent", "native.echo"))];
    let from = write(dir.path(), &files);
    let cause = apply_definitions(&pod, &from).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::InvalidDefinition);
    let problems = cause.details["problems"].to_string();
    assert!(problems.contains("a.yaml") && problems.contains("b.yaml") && !problems.contains("c.yaml"), "{problems}");
    for refused in [format!("{from}/missing"), "s3://no-prefix".to_owned()] {
        assert_eq!(apply_definitions(&pod, &refused).await.unwrap_err().code, ErrorCode::InvalidInput, "{refused}");
    }
    assert_eq!(pod.stores().generations.current_generations().await.unwrap(), Generations::default());
    assert!(has_agent(&pod, "executive_summary_agent") && !has_agent(&pod, "c_agent"));
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn valid_definitions_are_active_when_the_reply_comes_and_a_repetition_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start_in_memory(dir.path()).await;
    let from = write(dir.path(), &[("a.yaml", agent("a_agent", "native.echo"))]);
    let report = apply_definitions(&pod, &from).await.unwrap();
    assert_eq!((&report["generation"], &report["changed"], &report["active"]), (&json!(1), &json!(true), &json!(true)));
    assert_eq!((&report["agents"], &report["files"], &report["source"]), (&json!(1), &json!(1), &json!(from)));
    assert!(has_agent(&pod, "a_agent") && !has_agent(&pod, "executive_summary_agent"));
    let repeated = apply_definitions(&pod, &from).await.unwrap();
    assert_eq!((&repeated["generation"], &repeated["changed"]), (&json!(1), &json!(false)), "{repeated:#}");
    wait_for_line(&pod, "catalogue_generation 1").await;
    let applied = pod.stores().generations.get(GenerationKind::Catalogue, 1).await.unwrap().unwrap();
    assert_eq!(applied.info.by.to_string(), "local/default/admin");
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_fails_its_check_its_trial_or_the_current_definitions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start_in_memory(dir.path()).await;
    std::fs::write(dir.path().join("text.tar.gz"), "not a bundle").unwrap();
    let before = *pod.guard().active_policy().hash();
    let refused = [
        (format!("{BUNDLES}/open.tar.gz"), "fails its validation"),
        (format!("{BUNDLES}/misspelt.tar.gz"), "input.principal.tenannt"),
        (dir.path().join("text.tar.gz").display().to_string(), "not a gzipped tar"),
    ];
    for (from, message) in &refused {
        let cause = apply_policy(&pod, from).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::InvalidPolicy, "{cause}");
        assert!(format!("{} {}", cause.message, cause.details).contains(message), "{cause}");
    }
    // These definitions list a policy that the bundle `own` does not have.
    let from = write(dir.path(), &[("a.yaml", agent("a_agent", "native.echo"))]);
    apply_definitions(&pod, &from).await.unwrap();
    let cause = apply_policy(&pod, &format!("{BUNDLES}/own.tar.gz")).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::InvalidPolicy);
    assert!(cause.message.contains("generation 1") && cause.details["problems"].is_array(), "{cause}");
    assert_eq!((pod.active_generations().policy, *pod.guard().active_policy().hash()), (0, before));

    let report = apply_policy(&pod, SHIPPED).await.unwrap();
    assert_eq!((&report["generation"], &report["active"]), (&json!(1), &json!(true)), "{report:#}");
    assert_eq!(report["revision"], &**pod.guard().active_policy().revision());
    wait_for_line(&pod, "policy_generation 1").await;
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_load_what_was_applied_keeps_the_old_one_and_takes_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start_in_memory(dir.path()).await;
    assert_eq!(store_unchecked(&pod, "native.of_another_release").await, 1);
    wait_for_line(&pod, "reload_failures{subject=\"definitions\"} 1").await;
    assert!(pod.active_generations() == Generations::default() && has_agent(&pod, "executive_summary_agent"));
    assert!(pod.readiness().unready_cause().is_none(), "it has not failed for long");
    // A rollback is an application too.
    let from = write(dir.path(), &[("a.yaml", agent("a_agent", "native.echo"))]);
    let report = apply_definitions(&pod, &from).await.unwrap();
    assert_eq!((&report["generation"], &report["active"]), (&json!(2), &json!(true)), "{report:#}");
    wait_for_line(&pod, "catalogue_generation 2").await;
    wait_for_line(&pod, "reload_failures{subject=\"definitions\"} 1").await;
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_takes_what_was_applied_or_an_earlier_generation_and_never_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start(dir.path()).await;
    assert_eq!(store_unchecked(&pod, "native.echo").await, 1);
    apply_policy(&pod, SHIPPED).await.unwrap();
    pod.shutdown().await;

    let pod = start(dir.path()).await;
    assert_eq!(pod.active_generations(), Generations { catalogue: 1, policy: 1 });
    assert!(has_agent(&pod, "other_agent") && !has_agent(&pod, "executive_summary_agent"));
    assert_eq!(store_unchecked(&pod, "native.of_another_release").await, 2);
    pod.shutdown().await;

    let pod = start(dir.path()).await;
    assert_eq!(pod.active_generations().catalogue, 1, "the last one that it can load");
    wait_for_line(&pod, "reload_failures{subject=\"definitions\"} 1").await;
    assert!(has_agent(&pod, "other_agent"));
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_can_load_nothing_of_what_was_applied_starts_only_to_replace_it() {
    let dir = tempfile::tempdir().unwrap();
    let pod = start(dir.path()).await;
    assert_eq!(store_unchecked(&pod, "native.of_another_release").await, 1);
    pod.shutdown().await;

    let Err(cause) = try_start(dir.path(), Overrides::default()).await else { panic!("it starts with its own") };
    assert_eq!(cause.code, ErrorCode::InvalidDefinition);
    assert!(cause.message.contains("generation 1 of the catalogue") && cause.details["problems"].is_array(), "{cause}");
    let pod = try_start(dir.path(), Overrides { is_repair: true, ..Overrides::default() }).await.unwrap();
    let from = write(dir.path(), &[("a.yaml", agent("a_agent", "native.echo"))]);
    assert_eq!(apply_definitions(&pod, &from).await.unwrap()["generation"], 2);
    pod.shutdown().await;
    let pod = start(dir.path()).await;
    assert!(has_agent(&pod, "a_agent"));
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_others_make_void_is_checked_again_and_given_up_in_the_end() {
    /// A store whose current generations are never those that were read.
    struct Contended(Arc<dyn GenerationStore>);

    #[async_trait::async_trait]
    impl GenerationStore for Contended {
        async fn current_generations(&self) -> Result<Generations, StoreError> {
            self.0.current_generations().await
        }

        fn watch(&self) -> watch::Receiver<Generations> {
            self.0.watch()
        }

        async fn get(
            &self,
            kind: GenerationKind,
            number: u64,
        ) -> Result<Option<greenroom_registry::generation_store::Generation>, StoreError> {
            self.0.get(kind, number).await
        }

        async fn list(
            &self,
            kind: GenerationKind,
        ) -> Result<Vec<greenroom_registry::generation_store::GenerationInfo>, StoreError> {
            self.0.list(kind).await
        }

        async fn apply(&self, _new: NewGeneration, _checked: Generations) -> Result<Option<u64>, StoreError> {
            Ok(None)
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let contended: crate::compose::WrapStores = Box::new(|stores| {
        let generations = Arc::new(Contended(Arc::clone(&stores.generations)));
        greenroom_registry::Stores { generations, ..stores }
    });
    let pod = try_start(dir.path(), Overrides { stores: Some(contended), ..Overrides::default() }).await.unwrap();
    let from = write(dir.path(), &[("a.yaml", agent("a_agent", "native.echo"))]);
    let cause = apply_definitions(&pod, &from).await.unwrap_err();
    assert_eq!(cause.code, ErrorCode::VersionConflict, "{cause}");
    pod.shutdown().await;
}
