//! The steps that may follow a state, by the part of the protocol that they belong to.

use super::database;
use super::memory::{Lane, OwnedTree, Process, ProcessId, Progress, Status, TickPhase};
use super::pod;
use super::protocol::ProtocolModel;
use super::rows::{AuditEntry, Batch, BatchRole, LEASE_TICKS, Life, Outcome, Payment, Phase, RowId, Unit};
use super::state::State;

/// A step of the model. "Lose" is a step whose acknowledgement is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    PassTime,
    StopDatabase,
    StartDatabase,
    /// The first statement of the batch of a pod: its row is locked.
    LockBatch(RowId, BatchRole),
    /// The same, if the pod is dead.
    RefuseBatch(RowId, BatchRole),
    CommitBatch(RowId, BatchRole, Unit),
    Crash(ProcessId),
    Freeze(ProcessId),
    Thaw(ProcessId),
    /// The process has learned that its pod is dead.
    Stop(ProcessId),
    /// The process starts as a new pod.
    Start(ProcessId),
    SendTick(ProcessId),
    ExecuteTick(ProcessId),
    ReceiveTick(ProcessId),
    LoseTick(ProcessId),
    ReconnectTick(ProcessId),
    Submit(ProcessId, Unit),
    ReceiveBatch(ProcessId, Outcome),
    LoseBatch(ProcessId),
    /// The id becomes void, and the batch is sent under another one.
    VoidBatch(ProcessId),
    /// The outcome was recorded already, so it is read.
    ReadBatch(ProcessId),
    RetryBatch(ProcessId),
    /// The cleaner repeats a closing whose outcome its lane does not know.
    RepeatClosing(ProcessId, RowId),
    Call(ProcessId),
    Claim(ProcessId),
    LoseClaim(ProcessId),
    FindLostClaim(ProcessId),
    Clean(ProcessId, RowId),
    Park(ProcessId),
    LosePark(ProcessId),
    /// The request was lost, so the tree is not parked.
    FailPark(ProcessId),
    Send(ProcessId),
    LoseSend(ProcessId),
    RemoveMessage(ProcessId),
}

/// Collects the steps that may follow a state, with the states after them.
pub(super) struct Steps<'s> {
    model: &'s ProtocolModel,
    state: &'s State,
    found: Vec<(Step, State)>,
}

impl<'s> Steps<'s> {
    pub(super) const fn new(model: &'s ProtocolModel, state: &'s State) -> Self {
        Self { model, state, found: Vec::new() }
    }

    pub(super) fn into_found(self) -> Vec<(Step, State)> {
        self.found
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn add(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        let mut next = *self.state;
        change(&mut next);
        self.found.push((step, next));
    }

    /// Adds a step whose acknowledgement is lost.
    fn add_loss(&mut self, step: Step, change: impl FnOnce(&mut State)) {
        if self.state.faults.lost_acknowledgements > 0 {
            self.add(step, |next| {
                next.faults.lost_acknowledgements -= 1;
                change(next);
            });
        }
    }

    /// Time passes as soon as each healthy pod has renewed its lease.
    pub(super) fn time(&mut self) {
        let is_due = |process: &Process| {
            let is_healthy = process.status == Status::Running && !process.is_cut && self.state.is_database_up;
            is_healthy && (process.tick.is_some() || process.lease_left < LEASE_TICKS)
        };
        if !ProcessId::ALL.into_iter().any(|id| is_due(self.state.process(id))) {
            let defects = &self.model.defects;
            self.add(Step::PassTime, |next| pod::pass_time(next, defects));
        }
    }

    /// The database stops: its transactions are rolled back, and no connection to it is left.
    pub(super) fn outages(&mut self) {
        if !self.state.is_database_up {
            self.add(Step::StartDatabase, |next| next.is_database_up = true);
        } else if self.state.faults.outages > 0 {
            self.add(Step::StopDatabase, |next| {
                next.is_database_up = false;
                next.faults.outages -= 1;
                for id in RowId::ALL {
                    next.row_mut(id).roll_back();
                }
                for id in ProcessId::ALL {
                    next.process_mut(id).disconnect();
                }
            });
        }
    }

    /// The database executes the batches of a pod.
    pub(super) fn batches(&mut self, id: RowId) {
        if !self.state.is_database_up {
            return;
        }
        let defects = &self.model.defects;
        for role in BatchRole::ALL {
            let Some(batch) = self.state.row(id).batch(role) else { continue };
            match batch.phase {
                Phase::Sent if database::is_refused(self.state, defects, id, batch) => {
                    self.add(Step::RefuseBatch(id, role), |next| {
                        database::end_batch(next, id, role, batch, Outcome::PodDead);
                    });
                }
                Phase::Sent => self.add(Step::LockBatch(id, role), |next| {
                    next.row_mut(id).set_batch(role, Some(Batch { phase: Phase::Locked, ..batch }));
                }),
                Phase::Locked => self.add(Step::CommitBatch(id, role, batch.unit), |next| {
                    database::commit_batch(next, defects, id, role, batch);
                }),
                Phase::Ended(_) => {}
            }
        }
    }

    /// A process crashes, freezes, thaws, or starts again.
    pub(super) fn faults(&mut self, id: ProcessId) {
        let status = self.state.process(id).status;
        if self.state.faults.crashes > 0 && self.state.process(id).has_memory() {
            self.add(Step::Crash(id), |next| {
                next.faults.crashes -= 1;
                pod::drop_memory(next, id, Status::Crashed);
            });
        }
        match status {
            Status::Running if self.state.faults.freezes > 0 => self.add(Step::Freeze(id), |next| {
                next.faults.freezes -= 1;
                next.process_mut(id).status = Status::Frozen;
            }),
            Status::Frozen => self.add(Step::Thaw(id), |next| next.process_mut(id).status = Status::Running),
            Status::Stopped => self.start(id),
            Status::Running | Status::Crashed => {}
        }
    }

    /// A stopped process starts if the other one does not run; a third pod beside a healthy one adds nothing.
    fn start(&mut self, id: ProcessId) {
        let is_alone = self.state.process(id.other()).status != Status::Running;
        if let Some(row) = pod::unused_row(self.state).filter(|_| is_alone && self.state.is_database_up) {
            self.add(Step::Start(id), |next| pod::start(next, id, row));
        }
    }

    /// The tick of a pod.
    pub(super) fn ticks(&mut self, id: ProcessId) {
        let (process, model) = (self.state.process(id), self.model);
        let (is_running, is_up) = (process.status == Status::Running, self.state.is_database_up);
        let Some(tick) = process.tick else {
            if is_running && process.is_cut {
                self.add(Step::ReconnectTick(id), |next| next.process_mut(id).is_cut = false);
            } else if is_running && is_up && process.lease_left < LEASE_TICKS {
                self.add(Step::SendTick(id), |next| pod::send_tick(next, &model.defects, id));
            }
            return;
        };
        match tick.phase {
            TickPhase::Sent { has_suspect } if is_up => self.add(Step::ExecuteTick(id), |next| {
                database::tick(next, model, id, has_suspect, tick.age);
            }),
            TickPhase::Executed { is_alive: true } if is_running => self.add(Step::ReceiveTick(id), |next| {
                pod::receive_tick(next, &model.defects, id, tick.age);
            }),
            TickPhase::Executed { is_alive: false } if is_running => self.stop(id),
            TickPhase::Sent { .. } | TickPhase::Executed { .. } => {}
        }
        if is_running {
            self.add_loss(Step::LoseTick(id), |next| pod::lose_tick(next, id));
        }
    }

    fn stop(&mut self, id: ProcessId) {
        self.add(Step::Stop(id), |next| pod::drop_memory(next, id, Status::Stopped));
    }

    /// What the lane of a pod learns of its batch.
    pub(super) fn results(&mut self, id: ProcessId) {
        let process = self.state.process(id);
        let Some(batch) = self.state.row(process.row).batch(BatchRole::Current) else { return };
        if process.lane == Lane::Unknown {
            self.repeat_closing(id, batch);
        }
        let phase = batch.phase;
        match (process.lane, phase) {
            (Lane::Idle, _) => {}
            (Lane::Waiting, phase) => {
                match phase {
                    Phase::Ended(Outcome::PodDead) => self.stop(id),
                    Phase::Ended(outcome) => self.add(Step::ReceiveBatch(id, outcome), |next| {
                        pod::receive_batch(next, id, batch, outcome);
                    }),
                    Phase::Sent | Phase::Locked => {}
                }
                self.add_loss(Step::LoseBatch(id), |next| next.process_mut(id).lane = Lane::Unknown);
            }
            (Lane::Unknown, _) if !self.state.is_database_up => {}
            (Lane::Unknown, phase) if self.model.defects.retry_without_resolving => {
                let row = process.row;
                let remains = matches!(phase, Phase::Sent | Phase::Locked).then_some(batch);
                self.add(Step::RetryBatch(id), |next| {
                    next.row_mut(row).set_batch(BatchRole::Unresolved, remains);
                    pod::retry_batch(next, id, batch);
                });
            }
            // A transaction that has not recorded its outcome yet finds the id void when it does, and is rolled back: that
            // it holds its locks until then only delays others. One that has recorded it is waited for, so the void comes
            // before the commit or not at all.
            (Lane::Unknown, Phase::Sent | Phase::Locked) => {
                let row = process.row;
                let remains = (phase == Phase::Locked && self.model.defects.commit_of_void).then_some(batch);
                self.add(Step::VoidBatch(id), |next| {
                    next.row_mut(row).set_batch(BatchRole::Unresolved, remains);
                    pod::retry_batch(next, id, batch);
                });
            }
            (Lane::Unknown, Phase::Ended(_)) => {
                self.add(Step::ReadBatch(id), |next| next.process_mut(id).lane = Lane::Waiting);
            }
        }
    }

    /// The cleaner does not wait until its lane knows of a closing: it cleans again, and the lane has another one then.
    fn repeat_closing(&mut self, id: ProcessId, batch: Batch) {
        let Unit::Interrupted(dead) = batch.unit else { return };
        let is_alive = self.state.is_database_up && self.state.row_of(id).life == Life::Alive;
        let is_open = self.state.row(dead).entry == AuditEntry::Open;
        if is_alive && is_open && self.state.process(id).queued_closing.is_none() {
            self.add(Step::RepeatClosing(id, dead), |next| next.process_mut(id).queued_closing = Some(dead));
        }
    }

    /// The owner of the tree works on it.
    pub(super) fn run(&mut self, id: ProcessId) {
        let process = self.state.process(id);
        let Some(tree) = process.tree else { return };
        if pod::can_call(self.state, &self.model.defects, id) {
            self.add(Step::Call(id), |next| pod::call(next, id));
        }
        if process.lane != Lane::Idle || !self.state.is_database_up {
            return;
        }
        match tree.progress {
            Progress::Ready => self.submit(id, Unit::Start),
            Progress::Called => self.submit(id, Unit::Done),
            Progress::OverLimit => self.submit(id, Unit::Fail),
            Progress::Started | Progress::Done => {}
        }
        if self.state.row(process.row).life == Life::Alive {
            self.inbox(id, process.row, tree);
        }
    }

    fn submit(&mut self, id: ProcessId, unit: Unit) {
        self.add(Step::Submit(id, unit), |next| pod::submit(next, id, unit));
    }

    /// The owner records the message of its tree by its id, and removes it then. Without a message, it parks the tree.
    fn inbox(&mut self, id: ProcessId, own: RowId, tree: OwnedTree) {
        let defects = &self.model.defects;
        let is_new = !tree.is_signalled || defects.signal_without_id;
        if self.state.has_message && is_new && self.state.tree.owner == Some(own) {
            self.submit(id, Unit::Signal);
        }
        if self.state.has_message && !is_new {
            self.add(Step::RemoveMessage(id), |next| next.has_message = false);
        }
        let is_waiting = tree.progress == Progress::Done && !tree.is_signalled;
        if is_waiting && database::is_parkable(self.state, defects, own, tree.fence) {
            let park = |next: &mut State| {
                database::park(next);
                next.process_mut(id).tree = None;
            };
            self.add(Step::Park(id), park);
            // It looks for what it owns before it claims anything.
            let has_lost_claim = !defects.park_without_look;
            self.add_loss(Step::LosePark(id), |next| {
                park(next);
                next.process_mut(id).has_lost_claim = has_lost_claim;
            });
            self.add_loss(Step::FailPark(id), |next| {
                let process = next.process_mut(id);
                (process.tree, process.has_lost_claim) = (None, has_lost_claim);
            });
        }
    }

    /// A pod claims the tree, or finds that it owns it.
    pub(super) fn claims(&mut self, id: ProcessId) {
        let (process, defects) = (self.state.process(id), &self.model.defects);
        let own = process.row;
        if !self.state.is_database_up || self.state.row(own).life != Life::Alive {
            return;
        }
        let adopt = |next: &mut State| {
            let owned = OwnedTree::from_row(&next.tree);
            next.process_mut(id).tree = Some(owned);
        };
        if process.has_lost_claim {
            let is_owner = self.state.tree.owner == Some(own) && !self.state.tree.has_ended();
            let is_unknown = is_owner && process.tree.is_none();
            // By a claim of its own, so that nothing sent under the fence before is taken.
            self.add(Step::FindLostClaim(id), |next| {
                next.process_mut(id).has_lost_claim = false;
                if is_unknown {
                    database::claim(next, defects, own);
                    adopt(next);
                }
            });
        } else if process.tree.is_none() && database::is_claimable(self.state, defects, own) {
            self.add(Step::Claim(id), |next| {
                database::claim(next, defects, own);
                adopt(next);
            });
            self.add_loss(Step::LoseClaim(id), |next| {
                database::claim(next, defects, own);
                next.process_mut(id).has_lost_claim = true;
            });
        }
    }

    /// A pod cleans what this dead one has left.
    pub(super) fn cleaning(&mut self, id: ProcessId, dead: RowId) {
        let process = self.state.process(id);
        let own = process.row;
        let row = self.state.row(dead);
        if !self.state.is_database_up || self.state.row(own).life != Life::Alive {
            return;
        }
        if process.queued_closing == Some(dead) {
            if process.lane == Lane::Idle {
                self.add(Step::Submit(id, Unit::Interrupted(dead)), |next| {
                    next.process_mut(id).queued_closing = None;
                    pod::submit(next, id, Unit::Interrupted(dead));
                });
            }
            return;
        }
        if row.life != Life::Dead {
            return;
        }
        let is_released = self.state.tree.owner != Some(dead) && row.payment != Payment::Reserved;
        if is_released && row.entry == AuditEntry::Open && row.cleaner == Some(own) {
            if process.lane == Lane::Idle {
                self.submit(id, Unit::Interrupted(dead));
            }
        } else if database::is_cleaner(self.state, own, dead) {
            self.add(Step::Clean(id, dead), |next| database::clean(next, own, dead));
        }
    }

    /// A pod inserts the message that it has received.
    pub(super) fn messages(&mut self, id: ProcessId) {
        let is_alive = self.state.row_of(id).life == Life::Alive;
        if is_alive && self.state.is_database_up && !self.state.is_acknowledged && !self.state.tree.has_ended() {
            self.add(Step::Send(id), |next| {
                database::send(next);
                next.is_acknowledged = true;
            });
            self.add_loss(Step::LoseSend(id), database::send);
        }
    }
}
