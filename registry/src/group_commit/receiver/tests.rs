//! When a writer is woken, and what its batches have.

use std::time::Duration;

use futures::poll;
use tokio::time::advance;

use super::*;
use crate::group_commit::{COALESCE_WAIT, CommandSender, queue};

/// A command that may be delayed for so long.
struct Delayed(Duration);

impl BatchCommand for Delayed {
    fn max_delay(&self) -> Duration {
        self.0
    }
}

const AT_ONCE: Delayed = Delayed(Duration::ZERO);
const LINGERING: Delayed = Delayed(LINGER);

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Takes one batch of a queue that has a command that starts a commit.
async fn commit(sender: &CommandSender<Delayed>, receiver: &mut CommandReceiver<Delayed>) -> usize {
    sender.try_send(AT_ONCE).unwrap();
    let mut batch = Vec::new();
    assert!(receiver.next_batch(&mut batch, far()).await);
    batch.len()
}

#[tokio::test(start_paused = true)]
async fn a_command_that_may_linger_wakes_an_idle_writer_only_and_is_taken_in_time() {
    for was_active in [false, true] {
        let (sender, mut receiver) = queue();
        let wakeup = Arc::clone(&receiver.wakeup);
        if was_active {
            assert_eq!(commit(&sender, &mut receiver).await, 1);
        }
        let mut batch = Vec::new();
        let mut next = Box::pin(receiver.next_batch(&mut batch, far()));
        assert!(poll!(&mut next).is_pending());
        sender.try_send(LINGERING).unwrap();
        let is_woken = wakeup.activity() == WriterActivity::Awake as u8;
        assert_eq!(is_woken, !was_active);
        assert!(poll!(&mut next).is_pending(), "another command may follow");
        advance(LINGER).await;
        assert!(next.await);
        assert_eq!(batch.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_writer_without_commands_becomes_idle() {
    let (sender, mut receiver) = queue();
    let wakeup = Arc::clone(&receiver.wakeup);
    commit(&sender, &mut receiver).await;
    let mut batch = Vec::new();
    let mut next = Box::pin(receiver.next_batch(&mut batch, far()));
    assert!(poll!(&mut next).is_pending());
    assert_eq!(wakeup.activity(), WriterActivity::Lingering as u8);
    advance(LINGER + LINGER).await;
    assert!(poll!(&mut next).is_pending());
    assert_eq!(wakeup.activity(), WriterActivity::Idle as u8);
    drop(sender);
    assert!(!next.await, "nothing follows");
}

#[tokio::test(start_paused = true)]
async fn commands_before_one_that_starts_a_commit_are_of_its_batch() {
    let (sender, mut receiver) = queue();
    assert_eq!(commit(&sender, &mut receiver).await, 1);
    sender.try_send(LINGERING).unwrap();
    sender.try_send(Delayed(COALESCE_WAIT)).unwrap();
    assert_eq!(commit(&sender, &mut receiver).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_coalesces_wakes_the_writer_and_is_delayed_by_its_own_bound() {
    let (sender, mut receiver) = queue();
    commit(&sender, &mut receiver).await;
    let mut batch = Vec::new();
    let mut next = Box::pin(receiver.next_batch(&mut batch, far()));
    assert!(poll!(&mut next).is_pending());
    sender.try_send(LINGERING).unwrap();
    sender.try_send(Delayed(COALESCE_WAIT)).unwrap();
    assert!(poll!(&mut next).is_pending());
    advance(COALESCE_WAIT).await;
    assert!(poll!(&mut next).is_ready());
    drop(next);
    assert_eq!(batch.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_is_returned_when_the_time_has_passed() {
    let (sender, mut receiver) = queue::<Delayed>();
    let mut batch = Vec::new();
    let started_at = Instant::now();
    assert!(receiver.next_batch(&mut batch, started_at + COALESCE_WAIT).await);
    assert!(batch.is_empty() && started_at.elapsed() >= COALESCE_WAIT);
    drop(sender);
    assert!(!receiver.next_batch(&mut batch, far()).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_when_the_queue_is_closed_is_taken_once() {
    let (sender, mut receiver) = queue();
    let count = BATCH_LENGTH_MAX + 2;
    for _ in 0..count {
        sender.try_send(AT_ONCE).unwrap();
    }
    receiver.close();
    let (mut rest, mut batches) = (Vec::new(), 0);
    while receiver.next_batch(&mut rest, far()).await {
        batches += 1;
        assert!(batches <= 2, "it ends");
    }
    assert_eq!((rest.len(), batches), (count, 2));
}
