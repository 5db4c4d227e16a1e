//! The pod that a session sends to at present, and its replacement when the owner of the data directory
//! shuts down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use greenroom_client::transport::Events;
use greenroom_client::{Transport, TransportError};
use greenroom_protocol::event::{EventNumber, WatchedRun};
use greenroom_protocol::{Cause, Envelope, ErrorCode, Reply, UserId};

use super::owner::{Owner, find_owner};
use crate::cli::output::print_note;
use crate::clock::{TimeOrdered, WallClock};
use crate::compose::blocking::drive_on_thread;
use crate::compose::{Overrides, compose_with};
use crate::config::{Config, SettingsHash};
use crate::data_dir::DataDirLock;
use crate::ingress::control::client::ControlClient;
use crate::ingress::local::LocalIngress;
use crate::pod::Pod;

/// Owners that may shut down before one of them accepts a request.
const OWNERS_MAX: usize = 1_000;

/// Receives requests.
#[derive(Clone)]
pub(super) enum Target {
    /// The pod of this process.
    InProcess(Box<LocalIngress>),
    /// The owner of the data directory.
    Remote(ControlClient),
}

/// The pod of a session.
enum Link {
    /// In this process.
    InProcess(Box<Pod>),
    /// In the owner of the data directory.
    Remote { socket: ControlClient, process: String, settings: Option<SettingsHash> },
    /// The session is closed.
    Closed,
}

struct Current {
    link: Link,
    /// Counts the replacements.
    number: usize,
}

/// The way from a command to a pod.
pub(super) struct Route {
    config: Config,
    /// True for the pod of a command that replaces what cannot be loaded.
    is_repair: bool,
    current: Mutex<Current>,
    /// Only one request replaces the link.
    replacing: tokio::sync::Mutex<()>,
}

impl Route {
    /// Finds or starts the pod.
    pub(super) async fn open(config: Config, is_repair: bool) -> Result<Self, Cause> {
        let current = Mutex::new(Current { link: open_link(&config, is_repair).await?, number: 0 });
        Ok(Self { config, is_repair, current, replacing: tokio::sync::Mutex::default() })
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn is_in_process(&self) -> bool {
        matches!(self.current().link, Link::InProcess(_))
    }

    /// The process of a pod that is not in this one.
    pub(super) fn owner(&self) -> Option<String> {
        match &self.current().link {
            Link::Remote { process, .. } => Some(process.clone()),
            Link::InProcess(_) | Link::Closed => None,
        }
    }

    /// The hashes of the settings of a pod that is not in this process, if it states them.
    pub(super) fn owner_settings(&self) -> Option<SettingsHash> {
        match &self.current().link {
            Link::Remote { settings, .. } => settings.clone(),
            Link::InProcess(_) | Link::Closed => None,
        }
    }

    /// Sends to the pod, and to its successors for as long as an owner shuts down before it accepts.
    pub(super) async fn send<T, E: From<Cause>>(
        &self,
        attempt: impl Fn(Target) -> BoxFuture<'static, Result<T, E>>,
        is_not_accepted: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        for _ in 0..OWNERS_MAX {
            let (target, number) = self.target()?;
            let is_remote = matches!(target, Target::Remote(_));
            match attempt(target).await {
                Err(error) if is_remote && is_not_accepted(&error) => self.replace(number).await?,
                result => return result,
            }
        }
        Err(shutting_down("each owner of the data directory shut down before it accepted the request").into())
    }

    /// Shuts the pod down, if it is in this process.
    pub(super) async fn close(&self) {
        let link = std::mem::replace(&mut self.current().link, Link::Closed);
        if let Link::InProcess(pod) = link {
            pod.shutdown().await;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No code panics while it holds the lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> Result<(Target, usize), Cause> {
        let current = self.current();
        let target = match &current.link {
            Link::InProcess(pod) => Target::InProcess(Box::new(pod.ingress().clone())),
            Link::Remote { socket, .. } => Target::Remote(socket.clone()),
            Link::Closed => return Err(shutting_down("the session is closed")),
        };
        Ok((target, current.number))
    }

    /// Replaces the link, unless another request has done so since.
    fn replace(&self, number: usize) -> BoxFuture<'_, Result<(), Cause>> {
        Box::pin(async move {
            let _replacing = self.replacing.lock().await;
            if self.current().number != number {
                return Ok(());
            }
            let (config, is_repair) = (self.config.clone(), self.is_repair);
            let link = drive_on_thread(move || async move { open_link(&config, is_repair).await }).await??;
            *self.current() = Current { link, number: number.saturating_add(1) };
            Ok(())
        })
    }
}

async fn open_link(config: &Config, is_repair: bool) -> Result<Link, Cause> {
    match find_owner(config, print_note).await? {
        Owner::ThisProcess(lock) => start_pod(config, lock, is_repair).await,
        Owner::Other { socket, process, settings } => Ok(Link::Remote { socket, process, settings }),
    }
}

async fn start_pod(config: &Config, lock: DataDirLock, is_repair: bool) -> Result<Link, Cause> {
    let overrides = Overrides { lock: Some(lock), is_repair, ..Overrides::default() };
    let mut pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await?;
    pod.listen().await?;
    Ok(Link::InProcess(Box::new(pod)))
}

fn shutting_down(message: &str) -> Cause {
    Cause::new(ErrorCode::ShuttingDown, message)
}

/// The transport of a session.
pub(super) struct SessionTransport(pub(super) Arc<Route>);

/// A reply, or the reason to send the request again.
enum Refusal {
    Rejected(Box<Reply>),
    Transport(TransportError),
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::Transport(TransportError::Rejected(cause))
    }
}

impl Refusal {
    fn is_not_accepted(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::Transport(TransportError::Unreachable { .. }) => true,
            Self::Transport(TransportError::Rejected(cause)) => cause.code == ErrorCode::ShuttingDown,
            Self::Transport(TransportError::ConnectionLost | TransportError::InvalidResponse { .. }) => false,
        }
    }
}

#[async_trait]
impl Transport for SessionTransport {
    async fn send(&self, envelope: Envelope) -> Result<Reply, TransportError> {
        let user = self.0.config.user.clone();
        let attempt = move |target: Target| try_send(target, user.clone(), envelope.clone()).boxed();
        match self.0.send(attempt, Refusal::is_not_accepted).await {
            Ok(reply) => Ok(reply),
            Err(Refusal::Rejected(reply)) => Ok(*reply),
            Err(Refusal::Transport(error)) => Err(error),
        }
    }

    fn watch(&self, run: &WatchedRun, after: EventNumber) -> Events {
        let (route, run) = (Arc::clone(&self.0), run.clone());
        let opening = async move {
            let user = route.config.user.clone();
            let attempt = move |target: Target| open_watch(target, user.clone(), run.clone(), after).boxed();
            match route.send(attempt, Refusal::is_not_accepted).await {
                Ok(events) => events,
                Err(Refusal::Transport(error)) => stream::once(async { Err(error) }).boxed(),
                Err(Refusal::Rejected(reply)) => {
                    stream::iter(reply.error.map(TransportError::Rejected).map(Err)).boxed()
                }
            }
        };
        stream::once(opening).flatten().boxed()
    }
}

async fn try_send(target: Target, user: UserId, envelope: Envelope) -> Result<Reply, Refusal> {
    let reply = match target {
        Target::InProcess(ingress) => ingress.send(user, envelope).await,
        Target::Remote(socket) => socket.send(envelope).await.map_err(Refusal::Transport)?,
    };
    let is_rejected = reply.error.as_ref().is_some_and(|cause| cause.code == ErrorCode::ShuttingDown);
    if is_rejected { Err(Refusal::Rejected(Box::new(reply))) } else { Ok(reply) }
}

/// Opens a watch and waits for its first event, so that a watch that is not accepted can be opened elsewhere.
async fn open_watch(target: Target, user: UserId, run: WatchedRun, after: EventNumber) -> Result<Events, Refusal> {
    let mut events = match target {
        Target::InProcess(ingress) => return Ok(ingress.watch(user, run, after).await?),
        Target::Remote(socket) => socket.watch(&run, after),
    };
    match events.next().await {
        None => Ok(stream::empty().boxed()),
        Some(Err(error)) => Err(Refusal::Transport(error)),
        Some(Ok(first)) => Ok(stream::once(async { Ok(first) }).chain(events).boxed()),
    }
}
