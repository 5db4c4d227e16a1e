//! The reloader over a whole pod, with a guard that is between its failure and its restart.

use std::path::Path;
use std::time::Duration;

use greenroom_actors::observer::NoopObserver;
use greenroom_actors::supervision::ChildKind;

use super::*;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::actor_tree::ChildSpec;
use crate::compose::{self, compose};
use crate::config::{Config, StoreConfig};

/// Bound of a wait, which only ends a test that hangs.
const WAIT_MAX: Duration = Duration::from_secs(60);
const SHIPPED: &[u8] = include_bytes!("../../../rego/bundle/guard.tar.gz");
const OTHER: &[u8] = include_bytes!("../../../rego/tests/bundles/own.tar.gz");

/// Polls until the condition is true.
async fn until(description: &str, condition: impl Fn() -> bool) {
    let polling = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !condition() {
            ticks.tick().await;
        }
    };
    assert!(tokio::time::timeout(WAIT_MAX, polling).await.is_ok(), "{description}");
}

fn write(dir: &Path, bundle: &[u8], description: &str) {
    for folder in ["policy", "definitions"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    std::fs::write(dir.join("policy/guard.tar.gz"), bundle).unwrap();
    let agent = format!(
        "agent_id: echo_agent\nname: Echo\ncategory: business_ops\ndescription: {description}\nversion: \"1.0.0\"\n\
         outputs: [{{ name: text, type: text }}]\nimplementation: {{ runtime: native, handler: native.echo }}\n"
    );
    std::fs::write(dir.join("definitions/echo_agent.yaml"), agent).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_refused_while_the_guard_restarts_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), SHIPPED, "Version 1");
    let mut config = Config::defaults(folder.path()).unwrap();
    config.store = StoreConfig::Memory;
    config.policy = Some(folder.path().join("policy").into());
    config.definitions = Some(folder.path().join("definitions").into());
    let pod = compose(&config, Arc::new(WallClock), Arc::new(TimeOrdered)).await.unwrap();
    // This guard has no supervisor yet, as between the failure of one and the start of the next.
    let bundle = compose::policy::open_bundle(&config).await.unwrap();
    let (snapshot, compiler) = compose::policy::compile(&config, bundle).await.unwrap();
    let guard = GuardHandle::new(snapshot, compiler, 1);
    let in_service = InService::new(&config, Arc::clone(&pod.parts.stores.definitions));
    let mut reloader = compose::services::reloader(&pod.parts, pod.reloader.spawner.clone(), in_service);
    reloader.guard = guard.clone();
    let policy = *guard.active_policy().hash();
    let definitions = reloader.definitions.catalogue().hash();

    write(folder.path(), OTHER, "Version 2");
    let change = async {
        // A round loads the policy before the definitions.
        until("the definitions are active", || reloader.definitions.catalogue().hash() != definitions).await;
        assert_eq!(*guard.active_policy().hash(), policy, "nothing is loaded without the guard");
        let restarted = guard.clone();
        let spawn = move |root| {
            let guard = restarted.clone();
            Box::pin(async move { guard.start_supervisor(Arc::new(NoopObserver), root).await }) as _
        };
        let child = ChildSpec { kind: ChildKind::GuardSupervisor, spawn: Arc::new(spawn) };
        pod.tree.root_handle().add_child(child).await.unwrap();
        until("the refused policy is active", || *guard.active_policy().hash() != policy).await;
    };
    tokio::select! {
        ended = reloader.run() => panic!("the reloader ends only with its service: {ended:?}"),
        () = change => {}
    }
    pod.shutdown().await;
}
