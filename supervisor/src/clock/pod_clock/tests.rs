//! A pod's clock on a machine whose wall clock jumps, that is suspended or paused, and whose database has another time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use greenroom_protocol::{BootTime, Clock, DatabaseTime, Timestamp};

use super::PodClock;

const SECOND: i64 = 1_000_000;
const NOON: i64 = 1_700_000_000 * SECOND;

/// A machine whose clocks a test sets, in microseconds.
struct Machine {
    wall: AtomicI64,
    boot: AtomicU64,
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall.load(Ordering::SeqCst))
    }

    fn boot_time(&self) -> BootTime {
        BootTime::from_duration(Duration::from_micros(self.boot.load(Ordering::SeqCst)))
    }
}

struct Fixture {
    machine: Arc<Machine>,
    clock: PodClock,
}

impl Fixture {
    /// A machine at noon, by its wall clock, whose pod follows no database yet.
    fn new() -> Self {
        let machine = Arc::new(Machine { wall: AtomicI64::new(NOON), boot: AtomicU64::new(77_000_000) });
        Self { clock: PodClock::new(machine.clone()), machine }
    }

    /// Lets time pass on the machine.
    fn pass(&self, micros: i64) {
        self.machine.wall.fetch_add(micros, Ordering::SeqCst);
        self.machine.boot.fetch_add(micros.unsigned_abs(), Ordering::SeqCst);
    }

    /// Reads a database at this time since noon. The round trip has taken this long.
    fn follow(&self, since_noon: i64, round_trip: i64) {
        let sent_at = self.machine.boot_time();
        self.pass(round_trip);
        let (at, received_at) = (Timestamp::from_micros(NOON + since_noon), self.machine.boot_time());
        self.clock.follow(DatabaseTime { at, sent_at, received_at });
    }

    /// The time of the pod since noon.
    fn now(&self) -> i64 {
        self.clock.now().as_micros() - NOON
    }
}

#[test]
fn a_pod_without_a_shared_database_has_the_clock_of_its_machine() {
    let fixture = Fixture::new();
    fixture.pass(SECOND);
    assert_eq!(fixture.now(), SECOND);
    assert_eq!(fixture.clock.boot_time(), fixture.machine.boot_time());
    assert_eq!(fixture.clock.wall_offset_micros(), 0);
}

#[test]
fn a_wall_clock_that_jumps_changes_only_its_offset() {
    let fixture = Fixture::new();
    fixture.follow(0, 0);
    for (jump, offset) in [(40, 40), (-80, -40), (3_600, 3_560)] {
        fixture.machine.wall.fetch_add(jump * SECOND, Ordering::SeqCst);
        let before = fixture.now();
        fixture.pass(SECOND);
        assert_eq!(fixture.now() - before, SECOND);
        fixture.follow(fixture.now(), 0);
        assert_eq!(fixture.now() - before, SECOND);
        assert_eq!(fixture.clock.wall_offset_micros(), offset * SECOND);
    }
}

#[test]
fn the_time_is_that_of_the_database_and_later_by_the_fastest_round_trip_at_most() {
    let fixture = Fixture::new();
    let round_trip = SECOND / 10;
    // The database was read at once, and its reply came late.
    fixture.follow(-40 * SECOND, round_trip);
    assert_eq!(fixture.now(), -40 * SECOND + round_trip, "exact in this case");
    fixture.pass(SECOND);
    // This time the statement came late.
    let database = -39 * SECOND + 2 * round_trip;
    fixture.follow(database, round_trip);
    assert_eq!(fixture.now(), database, "it is within the bounds, and was not moved");
    // A slow reply says little.
    fixture.follow(database + SECOND, 2 * SECOND);
    assert_eq!(fixture.now(), database + 2 * SECOND);
    // Another database, whose clock is an hour later, after a failover.
    fixture.follow(3_600 * SECOND, 0);
    assert_eq!(fixture.now(), 3_600 * SECOND);
}

#[test]
fn a_database_whose_clock_is_set_back_slows_the_time_and_does_not_reverse_it() {
    let fixture = Fixture::new();
    fixture.follow(10 * SECOND, 0);
    fixture.follow(0, 0);
    assert_eq!(fixture.now(), 10 * SECOND);
    let mut last = fixture.now();
    for second in 1..=20 {
        fixture.pass(SECOND);
        assert_eq!(fixture.now() - last, SECOND / 2, "half as fast: second {second}");
        last = fixture.now();
        fixture.follow(second * SECOND, 0);
        assert_eq!(fixture.now(), last);
    }
    assert_eq!(last, 20 * SECOND, "it agrees again");
    fixture.pass(SECOND);
    assert_eq!(fixture.now(), 21 * SECOND);
}

#[test]
fn the_time_passes_while_the_machine_is_suspended() {
    let fixture = Fixture::new();
    fixture.follow(0, 0);
    // The wall clock is not corrected yet.
    fixture.machine.boot.fetch_add(3_600_000_000, Ordering::SeqCst);
    assert_eq!(fixture.now(), 3_600 * SECOND);
    assert_eq!(fixture.clock.wall_offset_micros(), -3_600 * SECOND);
}

#[test]
fn the_next_reading_corrects_the_time_after_a_pause_that_no_clock_of_the_machine_shows() {
    let fixture = Fixture::new();
    fixture.follow(0, 0);
    fixture.pass(SECOND);
    fixture.follow(61 * SECOND, 0);
    assert_eq!(fixture.now(), 61 * SECOND);
}

#[test]
fn readers_of_several_threads_never_see_the_time_go_back() {
    let fixture = Fixture::new();
    fixture.follow(0, 0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..20_000).map(|_| fixture.clock.now()).collect::<Vec<_>>());
        for second in 0..2_000 {
            // The clock of the database jumps back and forth by a second.
            fixture.follow((second % 2) * SECOND + second * 1_000, 1_000);
        }
        assert!(reader.join().unwrap().is_sorted());
    });
}
