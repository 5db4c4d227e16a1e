//! Checks of a set of definitions against itself and the known names. Each check is a pure function
//! over the whole set; none stops at the first problem.

use index::Index;

use crate::definition_set::DefinitionSet;
use crate::known_names::KnownNames;
use crate::problem::Problem;

mod agents;
mod capabilities;
mod categories;
mod conventions;
mod cycles;
mod examples;
mod ids;
mod implementation;
mod index;
mod joins;
mod literals;
mod names;
mod prices;
mod reference_types;
mod references;
mod steps;
mod unused;

/// Returns the problems of definitions whose other checks were made already: names that the host lacks.
pub(crate) fn check_names(all: &DefinitionSet, known_names: &KnownNames) -> Vec<Problem> {
    let mut problems = references::check(all, &Index::new(all), known_names);
    problems.extend(capabilities::check(all, known_names));
    problems
}

/// Returns all problems of a set of definitions.
pub(crate) fn check(all: &DefinitionSet, known_names: &KnownNames) -> Vec<Problem> {
    let index = Index::new(all);
    let mut problems = ids::check(all);
    problems.extend(references::check(all, &index, known_names));
    problems.extend(names::check(all, known_names));
    problems.extend(categories::check(all, &index));
    problems.extend(agents::check(all));
    problems.extend(examples::check(all));
    problems.extend(capabilities::check(all, known_names));
    problems.extend(steps::check(all, &index));
    problems.extend(joins::check(all, &index));
    problems.extend(conventions::check(all, &index));
    problems.extend(unused::check(all, &index));
    problems.extend(cycles::check(all, &index));
    problems.extend(prices::check(all));
    problems
}
