//! What a bundle's policy reads of the input: derived from its Rego text. Only the embedded bundle is
//! pruned by its own declaration, which tests prove.

use super::trial::Vocabulary;
use super::validation::Declaration;
use super::warning::PolicyWarning;
use crate::access_request::derived_reads;
use crate::access_request::input_path::{UnknownPath, find_unknown};
use crate::access_request::read_set::{NameReads, PolicyReadSet};
use crate::bundle::Bundle;
use crate::identity::NameSet;
use crate::instance::{allowed, explain};
use crate::rego_text::{Extent, Location, RegoText, TextProblem, TextReads};

/// Where the read set of a bundle comes from.
pub(super) enum ReadsSource {
    /// The declaration of the embedded bundle.
    Embedded,
    /// The text of any other bundle.
    Text(Result<DerivedReads, TextProblem>),
}

/// What the text of a bundle reads.
pub(super) struct DerivedReads {
    /// What the hot decision reads.
    decision: TextReads,
    /// The paths of all entrypoints that do not exist.
    unknown: Vec<(UnknownPath, Location)>,
}

/// What is known of a policy before it is tried.
pub(super) struct KnownReads {
    pub(super) read_set: PolicyReadSet,
    pub(super) warnings: Vec<PolicyWarning>,
    pub(super) vocabulary: Vocabulary,
}

impl ReadsSource {
    /// Reads the text of a bundle.
    pub(super) fn from_bundle(bundle: &Bundle) -> Self {
        if bundle.is_embedded() { Self::Embedded } else { Self::Text(derive(bundle)) }
    }

    /// True for the embedded bundle.
    pub(super) const fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded)
    }

    /// Compares what is derived with what is declared.
    pub(super) fn resolve(self, declaration: Declaration) -> KnownReads {
        let Declaration { capabilities, reads } = declaration;
        let (read_set, warnings, text) = match self {
            Self::Embedded => {
                let read_set = reads.map_or_else(PolicyReadSet::whole, |reads| reads.into_read_set(capabilities));
                (read_set, Vec::new(), None)
            }
            Self::Text(Err(problem)) => (PolicyReadSet::whole(), vec![PolicyWarning::NotDerived(problem)], None),
            Self::Text(Ok(derived)) => {
                let read_set = derived_reads::from_paths(derived.decision.inputs.keys());
                let narrow = reads.map(|reads| reads.narrower_than(&read_set)).unwrap_or_default();
                let narrow = narrow.into_iter().chain(narrow_capabilities(capabilities.as_ref(), &read_set)).collect();
                (read_set, derived.warnings(narrow), Some(derived.decision))
            }
        };
        KnownReads { read_set, warnings, vocabulary: Vocabulary::from_text(text.as_ref()) }
    }
}

fn derive(bundle: &Bundle) -> Result<DerivedReads, TextProblem> {
    if bundle.sources().is_empty() {
        return Err(TextProblem::Missing { rule: allowed::ENTRYPOINT.to_owned() });
    }
    if !bundle.is_rego_v1() {
        return Err(TextProblem::Language);
    }
    let text = RegoText::read(bundle.sources())?;
    let decision = text.reads(&[allowed::ENTRYPOINT], bundle.data())?;
    // If the text of the explanation is incomplete, its paths are not known. It receives the whole input.
    let all = text.reads(&[allowed::ENTRYPOINT, explain::ENTRYPOINT], bundle.data()).unwrap_or_default();
    let unknown = all.inputs.into_iter().filter_map(|((path, _), location)| Some((find_unknown(&path)?, location)));
    Ok(DerivedReads { decision, unknown: unknown.collect() })
}

impl DerivedReads {
    fn warnings(&self, narrow: Vec<String>) -> Vec<PolicyWarning> {
        let unknown = self.unknown.iter().map(|(unknown, location)| PolicyWarning::UnknownPath {
            location: location.clone(),
            unknown: unknown.clone(),
        });
        let whole = self.decision.inputs.get(&(Vec::new(), Extent::Value)).cloned().map(PolicyWarning::WholeInput);
        let narrow = (!narrow.is_empty()).then_some(PolicyWarning::NarrowDeclaration(narrow));
        unknown.chain(whole).chain(narrow).collect()
    }
}

/// The capabilities that rules read and the bundle does not declare.
fn narrow_capabilities(declared: Option<&NameSet>, read_set: &PolicyReadSet) -> Vec<String> {
    let Some(declared) = declared else { return Vec::new() };
    match &read_set.capabilities {
        NameReads::Only(names) => {
            let missing = names.iter().filter(|name| !declared.contains(name));
            missing.map(|name| format!("agent.capabilities.{name}")).collect()
        }
        NameReads::All | NameReads::Except(_) => vec!["agent.capabilities".to_owned()],
    }
}
