//! The slot, with an actor that takes only when it is told to.

use ractor::Actor;
use tokio::sync::mpsc;

use super::*;

enum Msg {
    Wake,
}
impl ractor::Message for Msg {}
impl Wakes for Msg {
    fn wake() -> Self {
        Self::Wake
    }
}

/// Reports its wake-ups and takes nothing.
struct Sleeper;
impl Actor for Sleeper {
    type Msg = Msg;
    type State = mpsc::Sender<()>;
    type Arguments = mpsc::Sender<()>;
    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        to: mpsc::Sender<()>,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        Ok(to)
    }
    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        to: &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        match message {
            Msg::Wake => to.send(()).await?,
        }
        Ok(())
    }
}

async fn sleeper() -> (ActorRef<Msg>, mpsc::Receiver<()>) {
    let (to, wakes) = mpsc::channel(8);
    let (actor, _) = Actor::spawn(None, Sleeper, to).await.unwrap();
    (actor, wakes)
}

#[tokio::test]
async fn a_burst_wakes_once_until_the_queue_was_seen_empty() {
    let slot = Slot::<u8, Msg>::new(8);
    let (actor, mut wakes) = sleeper().await;
    let now = Instant::now();
    assert_eq!(slot.push(1, now), Ok(Pushed::Unseated));
    assert_eq!(slot.push(2, now), Ok(Pushed::Waits), "the seat was asked for already");
    slot.seat(actor.clone(), now);
    slot.push(3, now).unwrap();
    wakes.recv().await.unwrap();
    assert!(wakes.try_recv().is_err(), "one wake-up serves the burst");
    assert_eq!([slot.take(), slot.take(), slot.take(), slot.take()], [Some(1), Some(2), Some(3), None]);
    slot.push(4, now).unwrap();
    wakes.recv().await.unwrap();
    actor.stop(None);
}

#[tokio::test]
async fn a_full_a_barred_and_a_closed_slot_give_the_job_back() {
    let slot = Slot::<u8, Msg>::new(1);
    let now = Instant::now();
    slot.push(1, now).unwrap();
    assert_eq!(slot.push(2, now), Err(Refused::Full(2)));
    let rest = Duration::from_secs(30);
    assert_eq!(slot.bar(now + rest), [1]);
    assert_eq!(slot.push(3, now), Err(Refused::Barred(3, rest)));
    assert_eq!(slot.barred_for(now), Some(rest));
    assert_eq!(slot.push(4, now + rest), Ok(Pushed::Unseated), "after its rest it may try again");
    assert_eq!(slot.close(), [4]);
    assert_eq!(slot.push(5, now + rest), Err(Refused::Closed(5)));
}

#[tokio::test]
async fn who_has_work_cannot_retire_and_who_retires_is_replaced() {
    let slot = Slot::<u8, Msg>::new(8);
    let (actor, _wakes) = sleeper().await;
    let now = Instant::now();
    slot.seat(actor.clone(), now);
    slot.push(1, now).unwrap();
    assert!(!slot.retire(actor.get_id()));
    slot.take();
    assert!(slot.retire(actor.get_id()));
    assert!(!slot.retire(actor.get_id()), "the seat is empty by now");
    assert_eq!(slot.push(2, now), Ok(Pushed::Unseated));
    actor.stop(None);
}

#[tokio::test]
async fn age_counts_from_the_seating_and_only_while_somebody_sits() {
    let slot = Slot::<u8, Msg>::new(8);
    let (actor, _wakes) = sleeper().await;
    let start = Instant::now();
    let second = Duration::from_secs(1);
    slot.push(1, start).unwrap();
    assert_eq!(slot.ignored_for(start + second), None);
    slot.seat(actor.clone(), start + second);
    assert_eq!(slot.ignored_for(start + 3 * second), Some(2 * second));
    slot.await_next();
    assert_eq!(slot.ignored_for(start + 9 * second), None);
    actor.stop(None);
}

#[tokio::test]
async fn a_vacated_slot_with_work_awaits_the_next_one() {
    let slot = Slot::<u8, Msg>::new(8);
    assert!(!slot.vacate());
    assert!(slot.is_deserted());
    slot.push(1, Instant::now()).unwrap();
    assert!(slot.vacate());
    assert!(!slot.is_deserted());
}
