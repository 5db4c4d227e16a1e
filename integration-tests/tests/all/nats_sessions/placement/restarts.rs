//! The node and the peer of a pod are children of its root: one that ends is started again, and other pods are called as
//! before; one that ends more often than its row allows stops the pod.

use anyhow::{Context, Result};
use greenroom_actors::supervision::ChildKind;
use greenroom_integration_tests::session_pod::WAIT_MAX;
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::Status;
use greenroom_supervisor::cluster::peer::peer_name;
use greenroom_supervisor::pod::Pod;
use ractor::ActorCell;
use ractor::registry::get_all_pids;
use tokio::time::timeout;

use super::Pods;

/// The actors by which a pod reaches others, and their supervisor.
struct NetworkActors {
    root: ActorCell,
    node: ActorCell,
    peer: ActorCell,
}

/// Those of the pod with this name.
async fn network_actors(pod: &Pod, name: &str) -> Result<NetworkActors> {
    let live = pod.stores().cluster.live_pods().await?;
    let own = live.iter().find(|info| info.pod.as_str().starts_with(name)).context("the pod is alive")?;
    // Not by the registry of names: the pods of all tests are one process, so a session of another test offers this actor
    // too, and the end of that session removes its name.
    let name = peer_name(&own.pod);
    let is_peer = |actor: &ActorCell| actor.get_name().as_deref() == Some(name.as_str());
    let find_peer = || async { get_all_pids().into_iter().find(is_peer) };
    let peer = wait_until("the pod has a peer", WAIT_MAX, find_peer).await?;
    let root = peer.try_get_supervisor().context("the peer has a supervisor")?;
    // The node has no name. It is the child that was started before the peer.
    let earlier = root.get_children().into_iter().filter(|child| child.get_id() < peer.get_id());
    let node = earlier.max_by_key(ActorCell::get_id).context("the pod has a node")?;
    Ok(NetworkActors { root, node, peer })
}

/// Kills a child of a root, and returns the one that is started in its place.
async fn kill(root: &ActorCell, child: &ActorCell) -> Result<ActorCell> {
    let newest = root.get_children().iter().map(ActorCell::get_id).max().context("the root has children")?;
    child.kill();
    let started = || async { root.get_children().into_iter().find(|other| other.get_id() > newest) };
    wait_until("the child is started again", WAIT_MAX, started).await
}

/// Waits until one pod executes the agent that the other one calls. A call that was under way may fail.
async fn expect_call(pods: &Pods) -> Result<()> {
    let succeeds = || async {
        let reply = pods.invoke("gpu_agent").await.ok()?;
        (reply.status == Status::Success && reply.outputs["text"] == "hello").then_some(())
    };
    wait_until("the other pod executes the agent", WAIT_MAX, succeeds).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_node_or_peer_has_ended_is_called_again() -> Result<()> {
    let pods = Pods::start("restarted").await?;
    let caller = network_actors(&pods.plain, "plain").await?;
    let called = network_actors(&pods.gpu, "gpu").await?;
    expect_call(&pods).await?;
    for (root, child) in [(&called.root, &called.peer), (&called.root, &called.node), (&caller.root, &caller.node)] {
        kill(root, child).await?;
        expect_call(&pods).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_or_a_peer_that_ends_too_often_stops_its_pod_by_its_row() -> Result<()> {
    let Pods { mut plain, mut gpu, _server, _folder } = Pods::start("ended").await?;
    let (first, second) = (network_actors(&plain, "plain").await?, network_actors(&gpu, "gpu").await?);
    for (pod, root, mut child) in [(&mut plain, first.root, first.node), (&mut gpu, second.root, second.peer)] {
        for _ in 0..ChildKind::Ingress.restart_policy().restarts_max {
            child = kill(&root, &child).await?;
        }
        child.kill();
        let failed = timeout(WAIT_MAX, pod.wait_failed()).await.context("the pod stops")?;
        assert_eq!(failed, "ingress exceeded its restart limit");
    }
    plain.shutdown().await;
    gpu.shutdown().await;
    Ok(())
}
