//! Whether the host of a worker can execute requests.

use greenroom_client::Client;
use greenroom_protocol::Cause;

/// Whether the host can execute requests. A worker takes jobs while its host starts; they wait for it.
#[derive(Clone)]
pub enum Startup {
    /// It starts.
    Loading,
    /// It is ready.
    Ready(Client),
    /// It will not be: each job fails for this cause.
    Failed(Cause),
}
