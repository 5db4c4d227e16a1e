//! Operations of a store that a permitted request consists of, within its deadline. While the server of a store that pods
//! share is away, a request of a run waits for it: the step has what is stored, and not a gap of a few seconds.

use std::time::Duration;

use greenroom_protocol::{Cause, Deadline, Timestamp};
use greenroom_registry::StoreError;

use super::preconditions::within_deadline;

/// Interval of the repetitions.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How long the operations of one request wait for their store.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreWait {
    /// The deadline of the request.
    pub(super) deadline: Deadline,
    /// When the request was executed.
    pub(super) now: Timestamp,
    /// True if the request belongs to a run and the store is a server, which may be away for a while.
    pub(super) outlasts_outage: bool,
}

impl StoreWait {
    /// Executes an operation that may be executed twice: a second time changes nothing, so it is repeated also if its
    /// outcome is not known.
    ///
    /// # Errors
    /// The error of the operation; if the store is still away at the deadline, the last error, which is retryable;
    /// [`greenroom_protocol::ErrorCode::TimedOut`] at the deadline of a request that does not wait.
    pub(super) async fn repeat<T, F>(self, operation: impl FnMut() -> F + Send) -> Result<T, Cause>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.repeat_if(|error| error.is_outage() || matches!(error, StoreError::OutcomeUnknown), operation).await
    }

    /// Executes an operation that must not be executed twice: it is repeated only if nothing of it was executed.
    ///
    /// # Errors
    /// As [`StoreWait::repeat`].
    pub(super) async fn repeat_unexecuted<T, F>(self, operation: impl FnMut() -> F + Send) -> Result<T, Cause>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.repeat_if(StoreError::is_outage, operation).await
    }

    async fn repeat_if<T, F>(
        self,
        is_repeated: impl Fn(&StoreError) -> bool + Send,
        mut operation: impl FnMut() -> F + Send,
    ) -> Result<T, Cause>
    where
        T: Send,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        // A server that accepts what is sent and is silent has no error before the deadline.
        let mut last = StoreError::Timeout;
        let last_error = &mut last;
        let repeated = async move {
            loop {
                match operation().await {
                    Err(error) if self.outlasts_outage && is_repeated(&error) => {
                        tracing::debug!(error = %error, "an operation of a store is repeated");
                        *last_error = error;
                        tokio::time::sleep(RETRY_INTERVAL).await;
                    }
                    result => return result,
                }
            }
        };
        let ended = within_deadline(self.deadline, self.now, repeated).await;
        match ended {
            Ok(result) => result.map_err(|error| error.cause()),
            Err(_timed_out) if self.outlasts_outage => Err(last.cause()),
            Err(timed_out) => Err(timed_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use greenroom_protocol::ErrorCode;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);
    /// The deadline of a request, from now.
    const TIME_MAX: Duration = Duration::from_secs(5);

    fn wait(outlasts_outage: bool) -> StoreWait {
        StoreWait { deadline: Deadline::after(NOW, TIME_MAX), now: NOW, outlasts_outage }
    }

    fn unreachable() -> StoreError {
        StoreError::Unreachable("connection refused".to_owned())
    }

    /// An operation that has these errors first, and then its result: how often it was executed.
    fn failing(errors: Vec<StoreError>) -> impl FnMut() -> std::future::Ready<Result<usize, StoreError>> + Send {
        let (mut errors, mut count) = (errors.into_iter(), 0);
        move || {
            count += 1;
            std::future::ready(errors.next().map_or(Ok(count), Err))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_a_run_waits_until_the_server_is_there_again() {
        let errors = vec![unreachable(), StoreError::Full, StoreError::OutcomeUnknown, StoreError::Timeout];
        assert_eq!(wait(true).repeat(failing(errors)).await, Ok(5));
        assert_eq!(wait(true).repeat_unexecuted(failing(vec![unreachable(), StoreError::ReadOnly])).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_with_an_unknown_outcome_is_repeated_only_if_that_changes_nothing() {
        let outcome = wait(true).repeat_unexecuted(failing(vec![StoreError::OutcomeUnknown])).await;
        assert_eq!(outcome.map_err(|cause| cause.code), Err(ErrorCode::OutcomeUnknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_of_a_user_and_any_other_error_do_not_wait() {
        for (outlasts_outage, error) in [(false, unreachable()), (true, StoreError::PodDead)] {
            let expected = error.cause();
            let outcome = wait(outlasts_outage).repeat(failing(vec![error])).await;
            assert_eq!(outcome.map_err(|cause| cause.code), Err(expected.code));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_return_before_the_deadline_is_a_retryable_error() {
        let started_at = tokio::time::Instant::now();
        let outcome: Result<(), Cause> = wait(true).repeat(|| async { Err(unreachable()) }).await;
        let cause = outcome.unwrap_err();
        assert_eq!((cause.code, cause.code.is_retryable()), (ErrorCode::StoreUnavailable, true));
        assert_eq!(cause.details["store"], "unreachable");
        let silent: Result<(), Cause> = wait(true).repeat(pending).await;
        assert_eq!(silent.map_err(|cause| cause.code), Err(ErrorCode::StoreUnavailable));
        assert!(started_at.elapsed() < TIME_MAX * 2 + RETRY_INTERVAL * 2, "{:?}", started_at.elapsed());
        let of_user: Result<(), Cause> = wait(false).repeat(pending).await;
        assert_eq!(of_user.map_err(|cause| cause.code), Err(ErrorCode::TimedOut));
    }
}
