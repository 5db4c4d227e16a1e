//! Requests to servers that a definition or the configuration names: services behind agents and tools. Models have a
//! client of their own, because only the configuration names their servers.
//!
//! ```text
//! client        one request: checks the address, follows redirects on the same host, reads a bounded response
//! address       the classes of IP addresses
//! resolver      names → the addresses that may be connected to
//! response      a response with its whole body
//! credentials   headers and parameters with secrets, and their redaction
//! failure       failures and error statuses → causes
//! retry_after   the delay that a server demands
//! observer      what becomes of each request, for metrics
//! ```
//!
//! A request is sent to public addresses over TLS, unless the configuration allows the host to be private. The address is
//! checked in the URL and again when its name is resolved, at the moment of the connection. No proxy of the environment is
//! used: it would connect to addresses that nothing has checked.

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod failure;
pub(crate) mod observer;
mod resolver;
pub(crate) mod response;
pub(crate) mod retry_after;

pub use address::AddressClass;
pub use client::Outbound;
pub use credentials::{CredentialSettings, Secret};
pub use observer::{CallKind, CallOutcome, OutboundObserver, Unobserved};
