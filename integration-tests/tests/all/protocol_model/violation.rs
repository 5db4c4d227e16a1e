//! The invariants, by what violates each of them.

/// What violates an invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    TwoWriters,
    DeadPodWrote,
    RecordedCallRepeated,
    CallRepeatedTooOften,
    SettledTwice,
    ResultNotSettled,
    AccountWrong,
    LimitExceeded,
    SignalRecordedTwice,
    EntryOpenedTwice,
    EntryClosedTwice,
    OutcomeWrong,
    DeathWithoutCause,
}

impl Violation {
    const ALL: [Self; 13] = [
        Self::TwoWriters,
        Self::DeadPodWrote,
        Self::RecordedCallRepeated,
        Self::CallRepeatedTooOften,
        Self::SettledTwice,
        Self::ResultNotSettled,
        Self::AccountWrong,
        Self::LimitExceeded,
        Self::SignalRecordedTwice,
        Self::EntryOpenedTwice,
        Self::EntryClosedTwice,
        Self::OutcomeWrong,
        Self::DeathWithoutCause,
    ];

    pub(super) const fn description(self) -> &'static str {
        match self {
            Self::TwoWriters => "two pods have written to a tree under one fence",
            Self::DeadPodWrote => "a write of a dead pod was accepted",
            Self::RecordedCallRepeated => "a call was made although its result is recorded",
            Self::CallRepeatedTooOften => "a call was made more often than once and once for each death",
            Self::SettledTwice => "a reservation was settled twice",
            Self::ResultNotSettled => "a result is recorded without the settlement of its call",
            Self::AccountWrong => "the account differs from its reservations and settlements",
            Self::LimitExceeded => "more is reserved and spent than the account allows",
            Self::SignalRecordedTwice => "a message was recorded twice",
            Self::EntryOpenedTwice => "an audit entry was opened that is open",
            Self::EntryClosedTwice => "an audit entry was closed that is not open",
            Self::OutcomeWrong => "a unit was refused to its pod although it is durable",
            Self::DeathWithoutCause => {
                "a pod was declared dead that has neither crashed nor stopped nor lost its connection"
            }
        }
    }
}

/// The violations of the steps to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Violations(u16);

impl Violations {
    pub(super) const fn insert(&mut self, violation: Violation) {
        self.0 |= 1 << violation as u16;
    }

    pub(super) const fn contains(self, violation: Violation) -> bool {
        self.0 & (1 << violation as u16) != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn first(self) -> Option<Violation> {
        Violation::ALL.into_iter().find(|violation| self.contains(*violation))
    }
}
