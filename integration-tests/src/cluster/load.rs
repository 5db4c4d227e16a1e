//! The clients of the harness: they start runs at any pod and sign what waits, and repeat each request with its
//! idempotency key at the next pod until one accepts it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use futures::future::try_join_all;
use greenroom_client::{Client, TransportError};
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey, Reply, UserId};
use greenroom_supervisor::ingress::control::client::ControlClient;
use tokio::time::{Instant, sleep, timeout};

use super::observer::Observer;
use super::workload::{PAYER, RunKind, SIGN_STEP, Workload};
use crate::test_pod::text;

/// How long a client waits for a reply before it sends its request to another pod.
const REPLY_MAX: Duration = Duration::from_secs(3);
/// How long a client repeats its request.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// Delay of a repetition, and interval between two looks for runs that wait.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The clients of one pod.
#[derive(Debug)]
struct PodClients {
    admin: ControlClient,
    payer: ControlClient,
}

/// The clients of all pods.
#[derive(Debug)]
pub struct Load {
    workload: Workload,
    pods: Vec<PodClients>,
}

/// What became of a request.
enum Attempt {
    Accepted(String),
    /// Its budget refuses the run.
    Refused,
    /// It is to be repeated, for this reason.
    Unknown(String),
}

impl Load {
    /// Clients of the pods with these control sockets.
    ///
    /// # Errors
    /// Never: the names of the users are valid.
    pub fn new(workload: Workload, sockets: &[PathBuf]) -> anyhow::Result<Self> {
        let (admin, payer) = (UserId::new("admin")?, UserId::new(PAYER)?);
        let clients = |socket: &PathBuf| PodClients {
            admin: ControlClient::new(socket, admin.clone()),
            payer: ControlClient::new(socket, payer.clone()),
        };
        Ok(Self { workload, pods: sockets.iter().map(clients).collect() })
    }

    /// Starts the runs with these numbers at the same time, and returns the ids of those that were accepted.
    ///
    /// # Errors
    /// If no pod accepts a run that nothing refuses.
    pub async fn start_runs(&self, numbers: Range<usize>) -> anyhow::Result<Vec<String>> {
        let accepted = try_join_all(numbers.map(|number| self.start_run(number))).await?;
        Ok(accepted.into_iter().flatten().collect())
    }

    async fn start_run(&self, number: usize) -> anyhow::Result<Option<String>> {
        let kind = self.workload.kind(number);
        let give_up_at = Instant::now() + REQUEST_MAX;
        for attempt in 0.. {
            let reason = match self.send_start(number + attempt, number, kind).await? {
                Attempt::Accepted(run) => return Ok(Some(run)),
                Attempt::Refused => return Ok(None),
                Attempt::Unknown(reason) => reason,
            };
            ensure!(Instant::now() < give_up_at, "no pod accepts the run {number}: {reason}");
            sleep(RETRY_DELAY).await;
        }
        Ok(None)
    }

    /// Sends the request that starts a run to the next pod.
    async fn send_start(&self, pod: usize, number: usize, kind: RunKind) -> anyhow::Result<Attempt> {
        let Some(client) = self.client(pod, kind) else {
            return Ok(Attempt::Unknown("there is no pod".to_owned()));
        };
        let call = match kind.team() {
            Some(team) => client.team(team).workflow(kind.workflow()),
            None => client.workflow(kind.workflow()).inputs(&text(format!("run {number}"))),
        };
        let reply = call.detach().idempotency_key(format!("start-{number}")).send();
        Ok(attempt_from_reply(kind, timeout(REPLY_MAX, reply).await.ok()))
    }

    /// A client of the next pod.
    fn client(&self, pod: usize, kind: RunKind) -> Option<Client> {
        let clients = self.pods.get(pod % self.pods.len().max(1))?;
        let socket = if kind == RunKind::Paid { &clients.payer } else { &clients.admin };
        Some(Client::new(Arc::new(socket.clone())))
    }

    /// Signs every run that waits, until it is dropped.
    ///
    /// # Errors
    /// If the id of a run is none.
    pub async fn sign_waiting(&self, observer: &Observer) -> anyhow::Result<()> {
        for attempt in 0.. {
            for (index, run) in observer.waiting_runs().into_iter().enumerate() {
                self.sign(attempt + index, &run).await?;
            }
            sleep(RETRY_DELAY).await;
        }
        Ok(())
    }

    /// Signs a run through the next pod. Whether that was successful, the next observation shows.
    async fn sign(&self, pod: usize, run: &str) -> anyhow::Result<()> {
        if let Some(client) = self.client(pod, RunKind::Signed) {
            let key = IdempotencyKey::new(format!("sign-{run}"))?;
            let reply = client.run(run).approve(SIGN_STEP).idempotency_key(key).send();
            drop(timeout(REPLY_MAX, reply).await);
        }
        Ok(())
    }
}

/// What a reply means; without one, the time is up.
fn attempt_from_reply(kind: RunKind, reply: Option<Result<Reply, TransportError>>) -> Attempt {
    match reply {
        Some(Ok(Reply { error: None, id, .. })) => Attempt::Accepted(id),
        Some(Ok(Reply { error: Some(cause), id, .. })) if kind == RunKind::Paid && is_refusal(&cause) => {
            // A run that its budget has ended has an id, and a request that was refused has none of a run.
            if id.starts_with("run_") { Attempt::Accepted(id) } else { Attempt::Refused }
        }
        Some(Ok(Reply { error: Some(cause), .. })) => Attempt::Unknown(cause.to_string()),
        Some(Err(error)) => Attempt::Unknown(error.to_string()),
        None => Attempt::Unknown("no reply in time".to_owned()),
    }
}

fn is_refusal(cause: &Cause) -> bool {
    matches!(cause.code, ErrorCode::BudgetExceeded | ErrorCode::PolicyDenied)
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{Metadata, Status, Values, WrittenVersion};

    use super::*;

    fn reply(id: &str, code: Option<ErrorCode>) -> Option<Result<Reply, TransportError>> {
        let error = code.map(|code| Cause::new(code, "for the test"));
        let (status, outputs, metadata) = (Status::Failed, Values::new(), Metadata::default());
        Some(Ok(Reply { id: id.to_owned(), status, outputs, error, metadata, protocol_version: WrittenVersion::OWN }))
    }

    #[test]
    fn only_the_budget_of_a_paid_run_refuses_it_and_everything_else_is_repeated() {
        let attempt = |kind, id, code| match attempt_from_reply(kind, reply(id, code)) {
            Attempt::Accepted(id) => id,
            Attempt::Refused => "refused".to_owned(),
            Attempt::Unknown(_) => "unknown".to_owned(),
        };
        assert_eq!(attempt(RunKind::Row, "run_1", None), "run_1");
        assert_eq!(attempt(RunKind::Paid, "run_1", Some(ErrorCode::BudgetExceeded)), "run_1");
        assert_eq!(attempt(RunKind::Paid, "req_1", Some(ErrorCode::PolicyDenied)), "refused");
        assert_eq!(attempt(RunKind::Row, "req_1", Some(ErrorCode::PolicyDenied)), "unknown");
        assert_eq!(attempt(RunKind::Paid, "run_1", Some(ErrorCode::Interrupted)), "unknown");
        assert!(matches!(attempt_from_reply(RunKind::Row, None), Attempt::Unknown(_)));
    }
}
