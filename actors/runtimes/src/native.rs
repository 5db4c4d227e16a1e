//! Native code behind agents and tools: handlers and tools that need no language model. Nothing here
//! opens a network connection.

pub(crate) mod handlers;
#[cfg(test)]
mod tests;
pub(crate) mod tools;
