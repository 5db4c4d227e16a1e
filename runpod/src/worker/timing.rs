//! The durations of a worker. The defaults are for RunPod; tests shorten them.

use std::time::Duration;

/// The durations of a worker.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long a poll may be open. The SDK has the same bound.
    pub poll_timeout: Duration,
    /// How long RunPod may need for a result.
    pub post_timeout: Duration,
    /// The unit of the delays between the attempts to send a result that RunPod has failed to take.
    pub result_delay_unit: Duration,
    /// How long a result is sent again and again: the longest life of a job without another setting.
    pub result_attempts_max: Duration,
    /// How long a part of a stream is sent again and again. The model waits meanwhile.
    pub part_attempts_max: Duration,
    /// The delay after a poll without a delay of its own, for cancellations.
    pub stop_poll_delay: Duration,
    /// The delay after too many requests, if RunPod names none.
    pub throttle_delay: Duration,
    /// The first and the longest delay after a poll that has failed.
    pub failed_poll_delays: (Duration, Duration),
    /// The first and the longest delay after a poll of a parked worker.
    pub parked_poll_delays: (Duration, Duration),
    /// How long a cancelled job may continue.
    pub cancel_grace: Duration,
    /// How long the jobs under way may continue after the signal to end; an open poll is a part of this time.
    pub drain_timeout: Duration,
    /// How long a poll stays open after the signal to end, or after a suspension. A job that it still brings is executed.
    pub drain_poll_timeout: Duration,
    /// The interval of the check whether the process was suspended.
    pub resume_check_interval: Duration,
    /// The delay between two attempts to prove the connections after a suspension.
    pub resume_retry_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll_timeout: Duration::from_secs(90),
            post_timeout: Duration::from_secs(30),
            result_delay_unit: Duration::from_secs(1),
            result_attempts_max: Duration::from_secs(24 * 60 * 60),
            part_attempts_max: Duration::from_secs(60),
            stop_poll_delay: Duration::from_secs(1),
            throttle_delay: Duration::from_secs(5),
            failed_poll_delays: (Duration::from_millis(250), Duration::from_secs(10)),
            parked_poll_delays: (Duration::from_millis(100), Duration::from_secs(2)),
            cancel_grace: Duration::from_secs(2),
            // A container without another setting is killed ten seconds after the signal, and the pod needs some of them.
            drain_timeout: Duration::from_secs(7),
            drain_poll_timeout: Duration::from_secs(2),
            resume_check_interval: Duration::from_secs(1),
            resume_retry_delay: Duration::from_millis(500),
        }
    }
}
