//! Sessions between pods: byte streams over NATS subjects, in which the nodes of ractor_cluster talk to each other as over
//! TCP. A pod needs no address and accepts no connection; it dials another pod by its id, when it has a call for it.
//!
//! ```text
//! <prefix>.internal.session.<pod>.dial        hello: who dials, proved by the secret of the cluster
//! <prefix>.internal.session.<pod>.<session>   everything else to that pod: welcome or refusal, confirmation, chunks
//! ```
//!
//! [`handshake`] proves the secret of the cluster in both directions and derives the keys of the session; [`chunk`]
//! authenticates and numbers what follows; [`stream`] adds credit: a sender sends no more than its receiver has granted.
//! These three do no I/O. [`nats_stream`] drives a stream over a client of NATS, [`dial`] and [`accept`] a handshake.
//!
//! Whatever does not prove the secret is dropped and counted, and changes nothing, so that who may publish on these
//! subjects without it disturbs no session. A missing chunk ends the session, and the next call dials a new one: NATS
//! delivers the messages of one connection in order, or not at all.

pub mod accept;
pub mod chunk;
pub mod dial;
pub mod handshake;
pub mod nats_stream;
pub mod observer;
pub mod stream;
pub mod subject;

use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::PodId;

use super::keys::ClusterSecret;
use handshake::Versions;
use observer::SessionObserver;
use subject::Subjects;

/// What the sessions of one pod share.
#[derive(Clone)]
pub struct SessionEnv {
    /// The client of NATS.
    pub client: async_nats::Client,
    /// The subjects of sessions.
    pub subjects: Subjects,
    /// The name of the cluster.
    pub cluster: Arc<str>,
    /// This start of the pod.
    pub pod: PodId,
    /// The secret of the cluster.
    pub secret: ClusterSecret,
    /// The versions of the protocol of sessions that this pod has.
    pub versions: Versions,
    /// How long a session is kept that no call uses. Not zero.
    pub idle_max: Duration,
    /// Receives what happens to sessions.
    pub observer: Arc<dyn SessionObserver>,
}
