//! The bridge between HTTP and a client of the platform: it reads requests, sends them through [`greenroom_client`], and
//! writes replies, problems and streams of events. It knows no actor, policy or store, and no way by which the client
//! sends: the process that has the bridge provides the client.
#![deny(missing_docs)]

pub mod bridge;
