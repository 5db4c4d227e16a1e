//! Requests whose replies arrive in frames, over any link: how often a request is sent, what its caller receives, and how
//! a watch outlives connections and pods. It knows neither NATS nor HTTP.

pub(crate) mod backoff;
pub(crate) mod exchange;
pub(crate) mod link;
pub(crate) mod outgoing;
pub(crate) mod random;
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod watch;
