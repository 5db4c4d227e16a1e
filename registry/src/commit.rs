//! Group commit: many callers, one writer, one flush of the disk for all that came meanwhile.
//!
//! A caller hands over a command and waits for its answer; the writer takes all commands that are
//! there, makes them durable together, and answers them all. What nobody waits for does not start a
//! commit of its own at once, but rides along with the next one, or goes after [`LINGER`].

use std::time::Duration;

/// How long a caller waits for its answer.
pub const COMMIT_WAIT_MAX: Duration = Duration::from_secs(30);
/// Commands that may wait for the writer; callers beyond that wait for a place.
pub const QUEUE_LENGTH_MAX: usize = 65_536;
/// Commands that one commit takes at most.
pub const BATCH_LENGTH_MAX: usize = 1_024;
/// How long something that nobody waits for may wait for company.
pub const LINGER: Duration = Duration::from_millis(20);
