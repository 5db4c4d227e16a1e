//! A breadth-first search over all states of a model. It finds the shortest way to a violation, and every state from
//! which the end of all work cannot be reached any more. It knows nothing of the protocol.

use std::fmt::{self, Debug, Display, Formatter};
use std::hash::{Hash, Hasher};

/// Steps that are joined at most, so that a cycle of single steps ends.
const JOINED_STEPS_MAX: usize = 64;
/// The first size of the index of a [`StateTable`]; a power of two, as every later one.
const ENTRIES_MIN: usize = 1024;
/// An entry of the index that no state has.
const FREE: usize = usize::MAX;
/// The factor of the hash of a state.
const HASH_FACTOR: u64 = 0x517c_c1b7_2722_0a95;

/// The finding about a state from which no step leads to the end.
pub(super) const NEVER_ENDS: &str = "a state from which the work cannot end any more";

/// A model: where it starts, and which steps may follow.
pub(super) trait Model {
    type State: Copy + Eq + Hash;
    type Step: Copy + Debug;

    fn initial(&self) -> Self::State;

    /// The steps that may follow, each with the state after it.
    fn successors(&self, state: &Self::State) -> Vec<(Self::Step, Self::State)>;

    /// True if the state before this step is not stored when no other step may follow it.
    fn is_joined(&self, step: Self::Step) -> bool;

    /// The invariant that is violated in a state.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// True if all work has ended.
    fn is_complete(&self, state: &Self::State) -> bool;
}

/// All states of a model, of which none violates an invariant, and the end can be reached from each.
pub(super) struct Exploration<S> {
    states: Vec<S>,
}

impl<S> Exploration<S> {
    pub(super) fn count(&self) -> usize {
        self.states.len()
    }

    /// True if the model has such a state, so a check of it was not empty.
    pub(super) fn contains(&self, is_searched: impl Fn(&S) -> bool) -> bool {
        self.states.iter().any(is_searched)
    }
}

/// The shortest way to a state that must not exist.
#[derive(Debug)]
pub(super) struct Counterexample {
    pub(super) finding: &'static str,
    steps: Vec<String>,
    states: usize,
}

impl Display for Counterexample {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}; found among {} states, after these steps:", self.finding, self.states)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(formatter, "{number:4}. {step}")?;
        }
        Ok(())
    }
}

/// Explores a model. Panics if it has more than `states_max` states, because then it is not checked.
pub(super) fn explore<M: Model>(model: &M, states_max: usize) -> Result<Exploration<M::State>, Counterexample> {
    let mut search = Search { model, table: StateTable::new(), predecessors: vec![0], edges: Vec::new() };
    search.table.insert(model.initial());
    let mut index = 0;
    while index < search.table.states.len() {
        let state = search.table.states[index];
        if let Some(finding) = model.violation(&state) {
            return Err(search.counterexample(index, finding));
        }
        for (_, next) in model.successors(&state) {
            let target = search.follow(index, next);
            search.edges.push((index, target));
        }
        assert!(search.table.states.len() <= states_max, "the model has more than {states_max} states");
        index += 1;
    }
    match search.first_endless() {
        Some(index) => Err(search.counterexample(index, NEVER_ENDS)),
        None => Ok(Exploration { states: search.table.states }),
    }
}

struct Search<'m, M: Model> {
    model: &'m M,
    table: StateTable<M::State>,
    /// For each state the one from which it was found first.
    predecessors: Vec<usize>,
    edges: Vec<(usize, usize)>,
}

impl<M: Model> Search<'_, M> {
    /// The index of the state after this one and the steps that are joined to it.
    fn follow(&mut self, from: usize, mut state: M::State) -> usize {
        let mut joined = 0;
        loop {
            if let Some(index) = self.table.find(&state) {
                return index;
            }
            match self.joined_step(&state).filter(|_| joined < JOINED_STEPS_MAX) {
                Some((_, next)) => state = next,
                None => {
                    self.predecessors.push(from);
                    return self.table.insert(state);
                }
            }
            joined += 1;
        }
    }

    /// The step that is joined to a state: the only one that may follow it.
    fn joined_step(&self, state: &M::State) -> Option<(M::Step, M::State)> {
        if self.model.violation(state).is_some() {
            return None;
        }
        let successors = self.model.successors(state);
        let [(step, next)] = successors[..] else { return None };
        self.model.is_joined(step).then_some((step, next))
    }

    fn counterexample(&self, index: usize, finding: &'static str) -> Counterexample {
        let mut path = vec![index];
        let mut first = index;
        while first != 0 {
            first = self.predecessors[first];
            path.push(first);
        }
        path.reverse();
        let steps = path.windows(2).flat_map(|pair| self.steps_between(pair[0], pair[1]));
        Counterexample {
            finding,
            steps: steps.map(|step| format!("{step:?}")).collect(),
            states: self.table.states.len(),
        }
    }

    fn steps_between(&self, from: usize, to: usize) -> Vec<M::Step> {
        let target = self.table.states[to];
        for (step, next) in self.model.successors(&self.table.states[from]) {
            let (mut steps, mut state) = (vec![step], next);
            while state != target
                && steps.len() <= JOINED_STEPS_MAX
                && let Some((step, next)) = self.joined_step(&state)
            {
                steps.push(step);
                state = next;
            }
            if state == target {
                return steps;
            }
        }
        Vec::new()
    }

    /// The state nearest to the start from which no steps lead to the end.
    fn first_endless(&self) -> Option<usize> {
        let states = &self.table.states;
        let mut sources = vec![Vec::new(); states.len()];
        for (from, to) in &self.edges {
            sources[*to].push(*from);
        }
        let mut can_end: Vec<bool> = states.iter().map(|state| self.model.is_complete(state)).collect();
        let mut pending: Vec<usize> = (0..states.len()).filter(|index| can_end[*index]).collect();
        while let Some(index) = pending.pop() {
            for source in &sources[index] {
                if !can_end[*source] {
                    can_end[*source] = true;
                    pending.push(*source);
                }
            }
        }
        can_end.iter().position(|can_end| !can_end)
    }
}

/// States in the order in which they were found, each once, with an index by their hashes.
struct StateTable<S> {
    states: Vec<S>,
    entries: Vec<usize>,
}

impl<S: Eq + Hash> StateTable<S> {
    fn new() -> Self {
        Self { states: Vec::new(), entries: vec![FREE; ENTRIES_MIN] }
    }

    fn find(&self, state: &S) -> Option<usize> {
        let entry = self.entries[self.position(state)];
        (entry != FREE).then_some(entry)
    }

    /// Adds a state that is not in the table.
    fn insert(&mut self, state: S) -> usize {
        if self.states.len() * 2 >= self.entries.len() {
            self.grow();
        }
        let (index, position) = (self.states.len(), self.position(&state));
        self.entries[position] = index;
        self.states.push(state);
        index
    }

    fn grow(&mut self) {
        self.entries = vec![FREE; self.entries.len() * 4];
        for (index, state) in self.states.iter().enumerate() {
            let position = self.position(state);
            self.entries[position] = index;
        }
    }

    /// The position of the entry of a state, or of the one that it would have.
    fn position(&self, state: &S) -> usize {
        let mut hash = StateHasher(0);
        state.hash(&mut hash);
        let mask = self.entries.len() - 1;
        let mut position = hash.finish() as usize & mask;
        loop {
            let entry = self.entries[position];
            if entry == FREE || self.states[entry] == *state {
                return position;
            }
            position = (position + 1) & mask;
        }
    }
}

/// A hasher of small numbers; the one of the standard library takes most of the time of a search without optimisation.
struct StateHasher(u64);

impl StateHasher {
    fn add(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(HASH_FACTOR);
    }
}

impl Hasher for StateHasher {
    fn finish(&self) -> u64 {
        (self.0 ^ (self.0 >> 32)).wrapping_mul(HASH_FACTOR) >> 24
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.add(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.add(u64::from(number));
    }

    fn write_i8(&mut self, number: i8) {
        self.add(number as u64);
    }

    /// The discriminants of enums.
    fn write_isize(&mut self, number: isize) {
        self.add(number as u64);
    }
}

/// A counter that is raised by one or by two up to its end, and should be 7 at last.
struct Counter {
    forbidden: Option<u32>,
    end: u32,
}

impl Model for Counter {
    type State = u32;
    type Step = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn successors(&self, state: &u32) -> Vec<(u32, u32)> {
        [1, 2].into_iter().map(|step| (step, state + step)).filter(|(_, next)| *next <= self.end).collect()
    }

    fn is_joined(&self, _step: u32) -> bool {
        true
    }

    fn violation(&self, state: &u32) -> Option<&'static str> {
        (self.forbidden == Some(*state)).then_some("a forbidden number")
    }

    fn is_complete(&self, state: &u32) -> bool {
        *state == 7
    }
}

#[test]
fn the_shortest_way_to_a_violation_is_found() {
    let Err(found) = explore(&Counter { forbidden: Some(5), end: 7 }, 100) else { panic!("5 is not found") };
    assert_eq!((found.finding, found.steps.len()), ("a forbidden number", 3), "{found}");
    let explored = explore(&Counter { forbidden: Some(8), end: 7 }, 100).unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.contains(|state| *state == 7));
    assert!(!explored.contains(|state| *state == 6), "the only step after 6 is joined to the steps before it");
}

#[test]
fn a_state_from_which_the_work_cannot_end_is_found() {
    let Err(found) = explore(&Counter { forbidden: None, end: 9 }, 100) else { panic!("8 and 9 are not found") };
    assert_eq!((found.finding, found.steps.len()), (NEVER_ENDS, 5), "{found}");
}

#[test]
#[should_panic(expected = "more than 3 states")]
fn a_model_with_too_many_states_is_not_checked() {
    let _ = explore(&Counter { forbidden: None, end: 7 }, 3);
}
