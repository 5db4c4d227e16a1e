//! A panic ends its own request and nothing else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use greenroom_client::{Client, TransportError};
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::test_pod::{StoreKind, start_pod};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::UserId;
use greenroom_rego::{EvaluationError, Evaluator, Explanation, Input, PolicyDecision};
use greenroom_supervisor::compose::Overrides;
use greenroom_supervisor::ingress::control::client::ControlClient;

/// Panics for the user `guest`.
struct Panicking(Arc<dyn Evaluator>);

#[async_trait]
impl Evaluator for Panicking {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        let text = serde_json::to_string(&*input).unwrap_or_default();
        assert!(!text.contains("\"guest\""), "for the test");
        self.0.decide(input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.0.explain(input).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_one_control_connection_ends_no_other() -> Result<()> {
    let overrides =
        Overrides { evaluator: Some(Box::new(|engines| Arc::new(Panicking(engines)))), ..Overrides::default() };
    let mut test_pod = start_pod(StoreKind::Memory, None, overrides).await?;
    test_pod.pod.listen().await.map_err(|cause| anyhow::anyhow!("{cause}"))?;
    let socket = test_pod.pod.config().control_socket();
    let client = |user: &str| anyhow::Ok(Client::new(Arc::new(ControlClient::new(&socket, UserId::new(user)?))));
    let (admin, guest) = (client("admin")?, client("guest")?);
    for _ in 0..3 {
        let (panicked, served) = tokio::join!(guest.agents(), admin.agents());
        assert!(matches!(panicked, Err(TransportError::ConnectionLost)), "{panicked:?}");
        assert_eq!(served.context("the other connection is served")?.error, None);
    }
    // A ticket is released after the reply of its request is written.
    let are_released = async || (test_pod.pod.in_flight() == 0).then_some(());
    wait_until("the tickets are released, also of a request that panicked", COMMAND_WAIT_MAX, are_released).await?;
    let failed = tokio::time::timeout(Duration::from_millis(200), test_pod.pod.wait_failed()).await;
    assert!(failed.is_err(), "no service of the pod has failed: {failed:?}");
    test_pod.pod.shutdown().await;
    Ok(())
}
