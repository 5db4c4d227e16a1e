//! Places, shares, turns, fairness, draining.

use super::*;

fn admission(places: usize, max_in_flight_per_tenant: usize, turns: usize) -> AdmissionControl {
    AdmissionControl::new(AdmissionConfig {
        max_in_flight: places,
        max_in_flight_per_tenant,
        pipeline_concurrency: turns,
    })
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_full_pod_refuses_at_once_and_says_when_to_ask_again() {
    let admission = admission(1, 1, 1);
    let first = admission.admit().unwrap();
    let refused = admission.admit().err().unwrap();
    assert_eq!(refused.code, ErrorCode::Overloaded);
    assert!(refused.retry_after_ms.is_some());
    drop(first);
    assert!(admission.admit().is_ok());
}

#[tokio::test]
async fn a_tenant_has_a_share_of_the_places() {
    let admission = admission(3, 1, 3);
    let mut first = admission.admit().unwrap();
    let _turn = first.wait_turn(&tenant("a"), PATIENCE).await.unwrap();
    let mut second = admission.admit().unwrap();
    assert_eq!(second.wait_turn(&tenant("a"), PATIENCE).await.err().unwrap().code, ErrorCode::Overloaded);
    drop(second);
    let mut third = admission.admit().unwrap();
    assert!(third.wait_turn(&tenant("b"), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn turns_go_round_the_tenants() {
    let admission = admission(100, 100, 1);
    let mut holder = admission.admit().unwrap();
    let turn = holder.wait_turn(&tenant("a"), PATIENCE).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for name in ["a", "a", "a", "b"] {
        let (admission, order) = (admission.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let mut ticket = admission.admit().unwrap();
            let _turn = ticket.wait_turn(&tenant(name), PATIENCE).await.unwrap();
            order.lock().unwrap().push(name);
        }));
        tokio::task::yield_now().await;
    }
    drop(turn);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_waits_for_is_not_lost() {
    let admission = admission(10, 10, 1);
    let mut holder = admission.admit().unwrap();
    let turn = holder.wait_turn(&tenant("a"), PATIENCE).await.unwrap();
    let mut late = admission.admit().unwrap();
    assert_eq!(late.wait_turn(&tenant("b"), Duration::from_millis(1)).await.err().unwrap().code, ErrorCode::TimedOut);
    drop((turn, late));
    let mut next = admission.admit().unwrap();
    assert!(next.wait_turn(&tenant("c"), Duration::from_millis(1)).await.is_ok());
}

#[tokio::test]
async fn a_closed_gate_drains() {
    let admission = admission(2, 2, 2);
    let ticket = admission.admit().unwrap();
    admission.close();
    let late = admission.admit().err().unwrap();
    assert_eq!((late.code, late.retry_after_ms), (ErrorCode::ShuttingDown, Some(5_000)));
    let draining = tokio::spawn({
        let admission = admission.clone();
        async move { admission.drained().await }
    });
    tokio::task::yield_now().await;
    assert!(!draining.is_finished());
    drop(ticket);
    draining.await.unwrap();
    assert_eq!(admission.in_flight(), 0);
}

#[tokio::test]
async fn who_stays_has_a_place_that_nobody_drains_for() {
    let admission = admission(3, 2, 3);
    let mut ticket = admission.admit().unwrap();
    drop(ticket.wait_turn(&tenant("a"), PATIENCE).await.unwrap());
    let first = admission.admit_detached_run(&tenant("a")).unwrap();
    let refused = admission.admit_detached_run(&tenant("a")).err().unwrap();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (ErrorCode::Overloaded, Some(1_000)),
        "the tenant has two places"
    );
    let second = admission.admit_detached_run(&tenant("b")).unwrap();
    assert_eq!(admission.admit().err().unwrap().code, ErrorCode::Overloaded, "the pod has three");
    drop(ticket);
    admission.drained().await;
    drop((first, second));
    let mut ticket = admission.admit().unwrap();
    assert!(ticket.wait_turn(&tenant("a"), PATIENCE).await.is_ok());
    assert!(admission.admit_detached_run(&tenant("a")).is_ok(), "every place is back");
}
