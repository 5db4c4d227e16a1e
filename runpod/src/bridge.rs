//! The HTTP bridge. `table.rs` has every route with its handler; the document of the API, the counters and the tests are
//! made from the same table. A handler turns a request into one of the client, and the reply into a response; what a
//! request means, who may send it and how often it is repeated is decided by the pods and by the client.

mod artifacts;
mod body;
mod call;
mod catalogue;
mod counters;
mod events;
mod guarded_stream;
mod incoming;
mod mcp;
mod middleware;
mod open_streams;
mod openapi;
mod page;
mod prefer;
mod probes;
mod problem;
mod progress;
mod range;
mod respond;
mod route;
mod router;
mod run_events;
mod runs;
mod server;
mod sse;
mod state;
mod table;
mod token;

pub use route::{Access, BodyKind, ResponseKind, Route, Verb};
pub use server::BridgeServer;
pub use state::{BridgeConfig, Health, Host};
pub use table::ROUTES;
pub use token::TokenKey;

#[cfg(test)]
mod tests;
