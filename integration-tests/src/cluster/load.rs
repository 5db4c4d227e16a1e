//! The clients of the harness: they start runs and sign what waits. Over the control sockets, they repeat each request with
//! its idempotency key at the next pod until one accepts it; over NATS, as long as its code says so.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use greenroom_client::{Call, Client, PreparedRequest, TransportError};
use greenroom_protocol::{Cause, ErrorCode, IdempotencyKey, Reply, UserId};
use greenroom_supervisor::ingress::control::client::ControlClient;
use tokio::time::{Instant, sleep, timeout};

use super::history::{DrainCounts, RequestCounts};
use super::observer::Observer;
use super::probes::send_probes;
use super::requests::{CALL_MAX, Requests, client_of};
use super::workload::{ADMIN, PAYER, RunKind, SIGN_STEP, Workload, start_key};
use crate::test_pod::text;

/// How long a client of a socket waits for a reply before it sends its request to another pod.
const REPLY_MAX: Duration = Duration::from_secs(3);
/// How long it repeats its request.
const REQUEST_MAX: Duration = Duration::from_secs(120);
/// Delay of a repetition, and interval between two looks for runs that wait.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The clients of both users.
struct UserClients {
    admin: Client,
    payer: Client,
}

impl UserClients {
    const fn for_kind(&self, kind: RunKind) -> &Client {
        match kind {
            RunKind::Paid => &self.payer,
            RunKind::Row | RunKind::Signed | RunKind::Nested | RunKind::Items | RunKind::Team | RunKind::Placed => {
                &self.admin
            }
        }
    }
}

/// How requests reach the pods.
enum Access {
    /// Over the control socket of each pod: the harness chooses the pod, and repeats whatever has no success.
    Sockets(Vec<UserClients>),
    /// Over NATS: any pod receives the request, and the code of a reply decides whether it is repeated.
    Nats(UserClients),
}

/// The clients of all pods.
pub struct Load {
    workload: Workload,
    access: Access,
    requests: Requests,
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
    pub fn over_sockets(workload: Workload, sockets: &[PathBuf]) -> anyhow::Result<Self> {
        let (admin, payer) = (UserId::new(ADMIN)?, UserId::new(PAYER)?);
        let client = |socket: &PathBuf, user: &UserId| Client::new(Arc::new(ControlClient::new(socket, user.clone())));
        let clients = |socket: &PathBuf| UserClients { admin: client(socket, &admin), payer: client(socket, &payer) };
        let access = Access::Sockets(sockets.iter().map(clients).collect());
        Ok(Self { workload, access, requests: Requests::default() })
    }

    /// Clients of the pods of a NATS server.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn over_nats(workload: Workload, url: &str) -> anyhow::Result<Self> {
        let client = Client::connect(url).await?;
        let clients = UserClients { admin: client_of(&client, ADMIN), payer: client_of(&client, PAYER) };
        Ok(Self { workload, access: Access::Nats(clients), requests: Requests::default() })
    }

    /// The requests over NATS that have ended.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.requests.counts()
    }

    /// Sends short requests over NATS until it is over, and counts those that fail.
    pub async fn send_probes(&self, is_over: &AtomicBool) -> DrainCounts {
        match &self.access {
            Access::Nats(clients) => send_probes(&clients.admin, is_over).await,
            Access::Sockets(_) => DrainCounts::default(),
        }
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
        match &self.access {
            Access::Sockets(pods) => start_over_sockets(pods, number, kind).await,
            Access::Nats(clients) => {
                let client = clients.for_kind(kind);
                let reply = self.requests.send(|| start_call(client, number, kind).timeout(CALL_MAX).send()).await?;
                // Without a reply, the checker counts the request.
                let Some(reply) = reply else { return Ok(None) };
                match attempt_from_reply(kind, Some(Ok(reply))) {
                    Attempt::Accepted(run) => Ok(Some(run)),
                    Attempt::Refused => Ok(None),
                    Attempt::Unknown(reason) => bail!("the run {number} is refused: {reason}"),
                }
            }
        }
    }

    /// Signs every run that waits, until it is dropped.
    ///
    /// # Errors
    /// If the id of a run is none.
    pub async fn sign_waiting(&self, observer: &Observer) -> anyhow::Result<()> {
        // What is confirmed is durable: it is not sent again.
        let mut confirmed = BTreeSet::new();
        for attempt in 0.. {
            let waiting: Vec<String> = observer.waiting_runs().difference(&confirmed).cloned().collect();
            let signed = waiting.iter().enumerate().map(|(index, run)| self.sign(attempt + index, run));
            confirmed.extend(try_join_all(signed).await?.into_iter().flatten());
            sleep(RETRY_DELAY).await;
        }
        Ok(())
    }

    /// Signs a run, and returns it if that is confirmed. Over a socket, the next pod receives the request, and only the
    /// next observation shows whether the run was signed.
    async fn sign(&self, pod: usize, run: &str) -> anyhow::Result<Option<String>> {
        let key = IdempotencyKey::new(format!("sign-{run}"))?;
        match &self.access {
            Access::Sockets(pods) => {
                if let Some(clients) = next_pod(pods, pod) {
                    drop(timeout(REPLY_MAX, approval(&clients.admin, run, &key).send()).await);
                }
                Ok(None)
            }
            Access::Nats(clients) => {
                let send = || approval(&clients.admin, run, &key).timeout(CALL_MAX).send();
                let reply = self.requests.send(send).await?;
                Ok(reply.filter(|reply| reply.error.is_none()).map(|_| run.to_owned()))
            }
        }
    }
}

/// Sends the request that starts a run to one pod after the other.
async fn start_over_sockets(pods: &[UserClients], number: usize, kind: RunKind) -> anyhow::Result<Option<String>> {
    let give_up_at = Instant::now() + REQUEST_MAX;
    for attempt in 0.. {
        let clients = next_pod(pods, number + attempt).context("there is no pod")?;
        let reply = timeout(REPLY_MAX, start_call(clients.for_kind(kind), number, kind).send()).await;
        let reason = match attempt_from_reply(kind, reply.ok()) {
            Attempt::Accepted(run) => return Ok(Some(run)),
            Attempt::Refused => return Ok(None),
            Attempt::Unknown(reason) => reason,
        };
        ensure!(Instant::now() < give_up_at, "no pod accepts the run {number}: {reason}");
        sleep(RETRY_DELAY).await;
    }
    Ok(None)
}

fn next_pod(pods: &[UserClients], number: usize) -> Option<&UserClients> {
    pods.get(number % pods.len().max(1))
}

/// The request that starts the run with this number.
fn start_call(client: &Client, number: usize, kind: RunKind) -> Call<'_> {
    let call = match kind.team() {
        Some(team) => client.team(team).workflow(kind.workflow()),
        None => client.workflow(kind.workflow()).inputs(&text(format!("run {number}"))),
    };
    call.detach().idempotency_key(start_key(number))
}

/// The request that signs a run.
fn approval<'c>(client: &'c Client, run: &str, key: &IdempotencyKey) -> PreparedRequest<'c> {
    client.run(run).approve(SIGN_STEP).idempotency_key(key.clone())
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
