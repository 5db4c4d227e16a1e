//! The bridge over sockets, with a scripted transport instead of pods.

mod documents;
mod fixture;
mod mcp;
mod refusals;
mod requests;
mod slow;
mod streams;
