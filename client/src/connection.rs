//! What every request of a client shares: its transport and its credential. What belongs to one call is in its builder.

use std::sync::Arc;

use greenroom_protocol::Credential;

use crate::transport::Transport;

/// The transport and the credential of a client.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) credential: Option<Credential>,
}
