//! The values that the inputs of a trial are made of: those that rules compare with, as far as the text and
//! the data of the bundle have them.

use greenroom_protocol::Json;

use crate::rego_text::TextReads;

/// Maximum texts, names of roles and names of policies.
const NAMES_MAX: usize = 32;
/// Maximum numbers.
const NUMBERS_MAX: usize = 16;
/// Maximum bytes of a text; a longer one is a message.
const TEXT_BYTES_MAX: usize = 64;
/// The roles that the platform knows.
const ROLES: [&str; 5] = ["admin", "agent_operator", "approver", "auditor", "internal"];
/// Numbers on whose other side a limit of any policy is likely.
const NUMBERS: [u64; 5] = [0, 1, 1 << 20, 10 << 20, 256 << 20];

/// Values for inputs.
pub(in crate::snapshot) struct Vocabulary {
    pub(super) texts: Vec<String>,
    pub(super) numbers: Vec<u64>,
    pub(super) roles: Vec<String>,
    pub(super) policies: Vec<String>,
}

impl Vocabulary {
    /// The constants of a text.
    pub(in crate::snapshot) fn from_text(text: Option<&TextReads>) -> Self {
        let texts = text.into_iter().flat_map(|text| &text.texts);
        let is_name = |text: &&String| text.len() <= TEXT_BYTES_MAX && !text.is_empty() && !text.contains(' ');
        let names_below = |parents: &'static [&'static str]| {
            let paths = text.into_iter().flat_map(|text| text.inputs.keys());
            paths.filter_map(move |(path, _)| name_below(path, parents))
        };
        let roles = ROLES.iter().map(|role| (*role).to_owned()).chain(names_below(&["user", "roles"]));
        let numbers = text.into_iter().flat_map(|text| text.numbers.iter().copied());
        let mut numbers: Vec<_> = NUMBERS.into_iter().chain(numbers.take(NUMBERS_MAX)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self {
            texts: texts.filter(is_name).take(NAMES_MAX).cloned().collect(),
            numbers,
            roles: roles.take(NAMES_MAX).collect(),
            policies: names_below(&["policies"]).chain(names_below(&["caller_policies"])).take(NAMES_MAX).collect(),
        }
    }

    /// Adds the names of policies that definitions may use, which the data has.
    pub(super) fn with_data(&self, data: &Json) -> Self {
        let named = data.pointer("/cfg/policies").and_then(Json::as_object);
        let named = named.into_iter().flat_map(|policies| policies.keys().cloned());
        let mut policies: Vec<_> = named.take(NAMES_MAX).chain(self.policies.iter().cloned()).collect();
        policies.sort_unstable();
        policies.dedup();
        Self { texts: self.texts.clone(), numbers: self.numbers.clone(), roles: self.roles.clone(), policies }
    }
}

/// The name that a path has directly below these ones.
fn name_below(path: &[String], parents: &[&str]) -> Option<String> {
    let name = path.get(parents.len())?;
    path.iter().zip(parents).all(|(name, parent)| name == parent).then(|| name.clone())
}
