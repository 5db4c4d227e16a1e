//! A team whose run only waits leaves its pod with the run, and is formed again on the pod that wakes it.

use greenroom_protocol::Deadline;

use super::*;
use crate::run::tests::harness::{SharedCluster, stores};
use crate::run::{LEASE, PARK_DELAY};

#[tokio::test(start_paused = true)]
async fn a_team_whose_run_waits_for_a_person_leaves_its_pod_and_is_formed_on_another_one_with_its_context() {
    let mut waiting = definitions();
    waiting.workflows[0]["steps"][1] = json!({"id": "check", "approval": {"prompt": "Go on?"}, "depends_on": ["find"]});
    let (stores, clock) = stores();
    let (cluster, stores) = SharedCluster::over(stores);
    let open = |pod| Harness::open(pod, vec![waiting.clone()], script(), stores.clone(), clock.clone());
    let (first, second) = (open("pod_1").await, open("pod_2").await);
    let Request::StartTeam(start) = crew(json!({})) else { panic!("a team") };
    let run = run_id(&first.request(Request::StartTeam(StartTeam { detach: true, ..start })).await);
    tokio::time::advance(LEASE * 2).await;
    assert_eq!(first.runs.recover_due().await.unwrap().resumed, 1);
    until_entry(&first, &run, 1, |entry| matches!(entry, Entry::ApprovalRequested { .. })).await;
    assert_eq!(first.teams.info().await.unwrap().teams.len(), 1);

    tokio::time::advance(PARK_DELAY).await;
    until("the tree is parked", || cluster.is_parked(&run)).await;
    until("its ticket is released", || first.tickets() == 0).await;
    let disbanded = || first.events.count(|event| matches!(event, ActorEvent::TeamDisbanded(_)));
    until("the team has gone", || disbanded() == 1).await;
    assert_eq!((first.runs.hosted(), first.teams.info().await.unwrap().teams.len()), (0, 0));

    let approved = first.signal(&run, Signal::Approve { step: StepId::new("check").unwrap(), call: None }).await;
    assert_eq!((approved.status, approved.error), (Status::Success, None));
    assert_eq!(second.runs.recover_due().await.unwrap().resumed, 1);
    assert_eq!(second.events.count(|event| matches!(event, ActorEvent::TeamFormed { .. })), 1);
    second.runs.deliver(&cluster.messages()[0]).await.unwrap();
    let deadline = Deadline::after(second.clock.now(), Duration::from_secs(60));
    let reply = second.runs.wait_ended(&run, deadline).await.unwrap();
    assert_eq!((reply.status, &reply.error), (Status::Success, &None));
    assert_eq!(reply.outputs["report"], json!("writer_001:finder_001:Q4 2024 Acme"), "the context was replayed");
    let calls = |harness: &Harness| harness.calls().into_iter().map(|call| call.agent).collect::<Vec<_>>();
    assert_eq!((calls(&first).len(), calls(&second).len()), (1, 1), "no step was repeated");
}
