//! Limits of pod and tenant, fairness across tenants, draining.

use greenroom_actors::dispatcher::{RunAdmission as _, RunVacancy};

use super::*;

fn admission(max_in_flight: usize, max_in_flight_per_tenant: usize, pipeline_concurrency: usize) -> AdmissionControl {
    AdmissionControl::new(AdmissionConfig { max_in_flight, max_in_flight_per_tenant, pipeline_concurrency })
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_full_pod_rejects_at_once_and_reports_when_to_retry() {
    let admission = admission(1, 1, 1);
    let first = admission.admit().unwrap();
    let error = admission.admit().err().unwrap();
    assert_eq!(error.code, ErrorCode::Overloaded);
    assert!(error.retry_after_ms.is_some());
    drop(first);
    assert!(admission.admit().is_ok());
}

#[tokio::test]
async fn a_tenant_has_a_limit_of_its_own() {
    let admission = admission(3, 1, 3);
    let mut first = admission.admit().unwrap();
    let _ticket = first.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap();
    let mut second = admission.admit().unwrap();
    assert_eq!(second.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.err().unwrap().code, ErrorCode::Overloaded);
    drop(second);
    let mut third = admission.admit().unwrap();
    assert!(third.wait_pipeline_ticket(&tenant("b"), TIMEOUT).await.is_ok());
}

#[tokio::test]
async fn pipeline_tickets_are_granted_fairly_across_tenants() {
    let admission = admission(100, 100, 1);
    let mut holder = admission.admit().unwrap();
    let pipeline_ticket = holder.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for name in ["a", "a", "a", "b"] {
        let (admission, order) = (admission.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let mut ticket = admission.admit().unwrap();
            let _ticket = ticket.wait_pipeline_ticket(&tenant(name), TIMEOUT).await.unwrap();
            order.lock().unwrap().push(name);
        }));
        tokio::task::yield_now().await;
    }
    drop(pipeline_ticket);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_granted_to_a_dropped_waiter_is_not_lost() {
    let admission = admission(10, 10, 1);
    let mut holder = admission.admit().unwrap();
    let pipeline_ticket = holder.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap();
    let mut timed_out = admission.admit().unwrap();
    assert_eq!(
        timed_out.wait_pipeline_ticket(&tenant("b"), Duration::from_millis(1)).await.err().unwrap().code,
        ErrorCode::TimedOut
    );
    drop((pipeline_ticket, timed_out));
    let mut next = admission.admit().unwrap();
    assert!(next.wait_pipeline_ticket(&tenant("c"), Duration::from_millis(1)).await.is_ok());
}

#[tokio::test]
async fn closed_admission_rejects_and_drains() {
    let admission = admission(2, 2, 2);
    let ticket = admission.admit().unwrap();
    admission.close();
    let error = admission.admit().err().unwrap();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::ShuttingDown, Some(5_000)));
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
async fn a_detached_run_counts_and_does_not_delay_a_drain() {
    let admission = admission(3, 2, 3);
    let mut ticket = admission.admit().unwrap();
    drop(ticket.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap());
    let first = admission.admit_detached_run(&tenant("a")).unwrap();
    let error = admission.admit_detached_run(&tenant("a")).err().unwrap();
    assert_eq!(
        (error.code, error.retry_after_ms),
        (ErrorCode::Overloaded, Some(1_000)),
        "the limit of the tenant is two"
    );
    let second = admission.admit_detached_run(&tenant("b")).unwrap();
    assert_eq!(admission.admit().err().unwrap().code, ErrorCode::Overloaded, "the limit of the pod is three");
    drop(ticket);
    admission.drained().await;
    drop((first, second));
    let mut ticket = admission.admit().unwrap();
    assert!(ticket.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.is_ok());
    assert!(admission.admit_detached_run(&tenant("a")).is_ok(), "all capacity is released");
}

#[tokio::test]
async fn a_run_has_the_capacity_of_its_request_until_it_ends_and_a_drain_waits_for_replies_only() {
    let admission = admission(1, 1, 1);
    let mut ticket = admission.admit().unwrap();
    drop(ticket.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap());
    let (run, response) = (ticket.share(), admission.await_response().unwrap());
    drop(ticket);
    assert_eq!(admission.admit().err().unwrap().code, ErrorCode::Overloaded, "the run continues without its caller");
    admission.close();
    let mut drained = Box::pin(admission.drained());
    assert!(futures::poll!(&mut drained).is_pending(), "a reply is being written");
    drop(response);
    drained.await;
    assert_eq!(admission.await_response().err().unwrap().code, ErrorCode::ShuttingDown);
    assert_eq!(admission.in_flight(), 1);
    drop(run);
    assert_eq!(admission.in_flight(), 0);
}

#[test]
fn a_pod_reports_how_many_runs_it_can_admit_and_for_whom() {
    let admission = admission(3, 1, 3);
    assert_eq!(admission.vacancy(), RunVacancy { runs: 3, full_tenants: Vec::new() });
    let request = admission.admit().unwrap();
    let run = admission.admit_detached_run(&tenant("a")).unwrap();
    assert_eq!(admission.vacancy(), RunVacancy { runs: 1, full_tenants: vec![tenant("a")] });
    drop((request, run));
    assert_eq!(admission.vacancy(), RunVacancy { runs: 3, full_tenants: Vec::new() });
    admission.close();
    assert_eq!(admission.vacancy(), RunVacancy::default(), "a pod that shuts down claims nothing");
}

#[tokio::test]
async fn a_quarter_is_reserved_for_the_calls_of_other_pods() {
    let bounds = AdmissionConfig { max_in_flight: 8, max_in_flight_per_tenant: 4, pipeline_concurrency: 8 };
    let admission = AdmissionControl::with_reserve(bounds, one_pod(), true);
    let mut outer: Vec<_> = (0..6).map(|_| admission.admit().unwrap()).collect();
    assert_eq!(admission.admit().err().map(|cause| cause.code), Some(ErrorCode::Overloaded));
    let mut inner: Vec<_> = (0..2).map(|_| admission.admit_inner().unwrap()).collect();
    assert_eq!(admission.admit_inner().err().map(|cause| cause.code), Some(ErrorCode::Overloaded));
    for ticket in outer.iter_mut().take(3) {
        let _pipeline = ticket.wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.unwrap();
    }
    let refused = outer[3].wait_pipeline_ticket(&tenant("a"), TIMEOUT).await;
    assert_eq!(refused.err().map(|cause| cause.code), Some(ErrorCode::Overloaded), "three of four for a tenant");
    assert!(inner[0].wait_pipeline_ticket(&tenant("a"), TIMEOUT).await.is_ok());
    assert_eq!(admission.vacancy().runs, 0);
}

#[test]
fn a_pod_that_is_alone_reserves_nothing() {
    let admission = admission(4, 4, 4);
    let admitted: Vec<_> = (0..4).map(|_| admission.admit()).collect();
    assert!(admitted.iter().all(Result::is_ok));
}
